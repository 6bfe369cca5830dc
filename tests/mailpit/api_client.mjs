// mailpit-api, of npm: each call that it has; and the events, with nodemailer sending.
//
//     node api_client.mjs http://127.0.0.1:8025 127.0.0.1 1025
//
// Runs in the folder where they are installed (tools/mailpit-clients.py).

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [url, host, port] = process.argv.slice(2);
const require = createRequire(path.join(process.cwd(), "package.json"));
const { MailpitClient } = await import(pathToFileURL(require.resolve("mailpit-api")));
const WebSocket = require("ws");
const transport = require("nodemailer").createTransport({ host, port: Number(port) });
const mailpit = new MailpitClient(url);

// The events

await mailpit.deleteMessages();
const events = [];
let told = () => {};
const socket = new WebSocket(`${url.replace(/^http/, "ws")}/api/events`);
socket.on("message", (data) => { events.push(JSON.parse(data)); told(); });
await new Promise((resolve, reject) => { socket.on("open", resolve); socket.on("error", reject); });

async function event(type) {
  for (;;) {
    const at = events.findIndex((one) => one.Type === type);
    if (at >= 0) return events.splice(0, at + 1).at(-1).Data;
    await new Promise((resolve) => { told = resolve; });
  }
}

await transport.sendMail({
  from: "Ann <ann@example.org>", to: "bob@example.org", cc: "cy@example.org", bcc: "blind@example.org",
  subject: "Grüße 🎉", text: "Hello", html: '<p>Hello <img src="cid:logo"><a href="https://example.org/">x</a></p>',
  headers: { "X-Tags": "one, two" },
  attachments: [
    { filename: "ä.txt", content: "attached" },
    { filename: "logo.png", cid: "logo", content: Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64") },
  ],
});
const summary = await event("new");
assert.equal(summary.Subject, "Grüße 🎉");
assert.deepEqual(summary.Bcc.map((one) => one.Address), ["blind@example.org"]);
assert.deepEqual([...summary.Tags].sort(), ["one", "two"]);
assert.equal((await event("stats")).Total, 1);

// Reading

const info = await mailpit.getInfo();
assert.equal(info.Messages, 1);
assert.equal((await mailpit.getConfiguration()).ChaosEnabled, true);
const message = await mailpit.getMessageSummary("latest");
assert.equal(message.ID, summary.ID);
assert.equal(message.Text.trim(), "Hello");
assert.equal((await event("update")).Read, true);
assert.equal(message.Attachments[0].FileName, "ä.txt");
assert.equal(await (await mailpit.getMessageAttachment(message.ID, message.Attachments[0].PartID)).text?.(), "attached");
const thumb = await mailpit.getAttachmentThumbnail(message.ID, message.Inline[0].PartID);
assert.equal((await thumb.arrayBuffer()).byteLength > 100, true);
assert.deepEqual((await mailpit.getMessageHeaders()).Subject, ["Grüße 🎉"]);
assert.match(await mailpit.getMessageSource(), /^From: Ann/m);
assert.match(await mailpit.renderMessageHTML(message.ID), new RegExp(`src="/api/v1/message/${message.ID}/part/`));
assert.match(await mailpit.renderMessageHTML(message.ID, 1), /<base target="_blank">/);
assert.equal((await mailpit.renderMessageText()).trim(), "Hello");
assert.ok((await mailpit.htmlCheck()).Total.Tests > 100);
assert.equal((await mailpit.linkCheck()).Links[0].URL, "https://example.org/");

// Finding, waiting, marking, tagging

const sent = await mailpit.sendMessage({
  From: { Email: "cy@example.org", Name: "Cy, the \"Great\"" }, To: [{ Email: "dan@example.org" }],
  Cc: [{ Email: "eve@example.org" }], Bcc: ["blind@example.org"], ReplyTo: [{ Email: "r@example.org" }],
  Subject: "Sent", Text: "by the API", HTML: "<p>by the API</p>", Tags: ["sent"], Headers: { "X-One": "1" },
  Attachments: [{ Filename: "a.txt", Content: Buffer.from("text").toString("base64") }],
});
const found = await mailpit.waitForMessage({ query: "subject:Sent" }, { interval: 50 });
assert.equal(found.ID, sent.ID);
assert.equal(found.From.Name, "Cy, the \"Great\"");
assert.deepEqual(found.Tags, ["sent"]);
assert.equal((await mailpit.waitForMessages({ count: 2, exact: true }, { interval: 50 })).messages_count, 2);
assert.equal((await mailpit.listMessages(0, 1)).messages[0].ID, sent.ID);
assert.equal((await mailpit.searchMessages({ query: "from:ann", tz: "Europe/Berlin" })).messages_count, 1);
assert.equal(await mailpit.setReadStatus(), "ok");
assert.equal((await mailpit.listMessages()).unread, 2);
assert.equal(await mailpit.setReadStatus({ IDs: [sent.ID], Read: true }), "ok");
assert.equal(await mailpit.setReadStatus({ Search: "from:ann", Read: true }, { tz: "Asia/Tokyo" }), "ok");
assert.equal((await mailpit.listMessages()).unread, 0);
assert.equal(await mailpit.setTags({ IDs: [sent.ID], Tags: ["red", "blue"] }), "ok");
assert.equal(await mailpit.renameTag("red", "green"), "ok");
assert.equal(await mailpit.deleteTag("blue"), "ok");
assert.deepEqual((await mailpit.getTags()).sort(), ["green", "one", "two"]);

// Failing

assert.equal((await mailpit.getChaosTriggers()).Authentication.ErrorCode, 535);
await mailpit.setChaosTriggers({ Sender: { ErrorCode: 451, Probability: 100 } });
await assert.rejects(
  transport.sendMail({ from: "a@example.org", to: "b@example.org", text: "x" }),
  (error) => error.responseCode === 451 && error.response === "451 Chaos sender error",
);
assert.equal((await mailpit.setChaosTriggers()).Sender.Probability, 0);
await assert.rejects(mailpit.getMessageSummary("nope"), /404/);
await assert.rejects(mailpit.releaseMessage(sent.ID, { To: ["x@example.org"] }), /--relay-to/);
await assert.rejects(mailpit.sendMessage({ From: { Email: "no address" }, To: [] }), /400/);

// Deleting

assert.equal(await mailpit.deleteMessages({ IDs: [sent.ID] }), "ok");
assert.equal((await event("delete")).ID, sent.ID);
assert.equal(await mailpit.deleteMessagesBySearch({ query: "nothing-like-this" }), "ok");
assert.equal(await mailpit.deleteMessages(), "ok");
await event("truncate");
assert.equal((await mailpit.listMessages()).total, 0);
socket.close();
console.log("mailpit-api: every call; events with nodemailer sending");
