# Perl's Net::SMTP, told what to send by JSON on standard input.
use strict;
use warnings;
use Authen::SASL;
use JSON::PP;
use Net::SMTP;

my $order = JSON::PP->new->decode(do { local $/; <STDIN> });
my %tls = (
    SSL_ca_file         => $order->{authority},
    SSL_verify_mode     => 1,
    SSL_verifycn_scheme => 'smtp',
);

# Net::SMTP tells of a refusal by a false value.
my $smtp;
sub must { my ($what, $done) = @_; return $done if $done; die "$what: " . ($smtp ? $smtp->message : $@) . "\n" }

$smtp = must 'connect', Net::SMTP->new(
    $order->{host},
    Port  => $order->{port},
    Hello => 'client.test',
    $order->{security} eq 'tls' ? (SSL => 1, %tls) : (),
);
must 'STARTTLS', $smtp->starttls(%tls) if $order->{security} eq 'starttls';
if ($order->{mechanism}) {
    my $sasl = Authen::SASL->new(
        mechanism => $order->{mechanism},
        callback  => { user => $order->{user}, pass => $order->{password}, authname => '' },
    );
    must 'AUTH', $smtp->auth($sasl);
}
for my $path (@{ $order->{messages} }) {
    open my $file, '<:raw', $path or die "$path: $!\n";
    my $octets = do { local $/; <$file> };
    must 'MAIL', $smtp->mail($order->{mail_from}, Bits => $order->{chunked} ? 'binary' : '8');
    must 'RCPT', $smtp->recipient(@{ $order->{rcpt_tos} });
    if ($order->{chunked}) {
        my $half = int(length($octets) / 2);
        must 'BDAT', $smtp->bdat(substr $octets, 0, $half);
        must 'BDAT LAST', $smtp->bdatlast(substr $octets, $half);
    }
    else {
        must 'DATA', $smtp->data($octets);
    }
}
$smtp->quit;
