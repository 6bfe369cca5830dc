# Ruby's net/smtp, told what to send by JSON on standard input.
require "json"
require "net/smtp"

order = JSON.parse($stdin.read)
smtp = Net::SMTP.new(
  order["host"], order["port"],
  tls: order["security"] == "tls",
  starttls: order["security"] == "starttls" ? :always : false,
  ssl_context_params: { ca_file: order["authority"] },
)
login = order["mechanism"] ? [order["user"], order["password"], order["mechanism"].downcase.to_sym] : []
smtp.start("client.test", *login) do
  sender = order["mail_from"]
  sender = Net::SMTP::Address.new(sender, "SMTPUTF8") if order["smtputf8"]
  order["messages"].each do |path|
    smtp.send_message(File.binread(path), sender, *order["rcpt_tos"])
  end
end
