// Go's net/smtp, told what to send by JSON on standard input.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/smtp"
	"os"
)

type order struct {
	Host, Authority, Security, Mechanism, User, Password string
	Port                                                 int
	MailFrom                                             string   `json:"mail_from"`
	RcptTos                                              []string `json:"rcpt_tos"`
	Messages                                             []string
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var o order
	must(json.NewDecoder(os.Stdin).Decode(&o))
	pem, err := os.ReadFile(o.Authority)
	must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: pool, ServerName: o.Host}
	address := fmt.Sprintf("%s:%d", o.Host, o.Port)
	var connection net.Conn
	if o.Security == "tls" {
		connection, err = tls.Dial("tcp", address, config)
	} else {
		connection, err = net.Dial("tcp", address)
	}
	must(err)
	client, err := smtp.NewClient(connection, o.Host)
	must(err)
	must(client.Hello("client.test"))
	if o.Security == "starttls" {
		must(client.StartTLS(config))
	}
	if o.Mechanism == "PLAIN" {
		must(client.Auth(smtp.PlainAuth("", o.User, o.Password, o.Host)))
	}
	for _, path := range o.Messages {
		must(client.Mail(o.MailFrom))
		for _, recipient := range o.RcptTos {
			must(client.Rcpt(recipient))
		}
		octets, err := os.ReadFile(path)
		must(err)
		writer, err := client.Data()
		must(err)
		_, err = writer.Write(octets)
		must(err)
		must(writer.Close())
	}
	must(client.Quit())
}
