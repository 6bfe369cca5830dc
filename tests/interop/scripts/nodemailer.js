// nodemailer, told what to send by JSON on standard input.
const fs = require("node:fs");
const nodemailer = require("nodemailer");

async function main() {
  const order = JSON.parse(fs.readFileSync(0, "utf8"));
  const transport = nodemailer.createTransport({
    host: order.host,
    port: order.port,
    name: "client.test",
    pool: true,
    maxConnections: 1,
    lmtp: order.lmtp,
    secure: order.security === "tls",
    requireTLS: order.security === "starttls",
    ignoreTLS: order.security === "none",
    tls: { ca: fs.readFileSync(order.authority) },
    authMethod: order.mechanism || undefined,
    auth: order.mechanism ? { user: order.user, pass: order.password } : undefined,
  });
  for (const path of order.messages) {
    await transport.sendMail({
      envelope: { from: order.mail_from, to: order.rcpt_tos },
      raw: fs.readFileSync(path),
    });
  }
  transport.close();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
