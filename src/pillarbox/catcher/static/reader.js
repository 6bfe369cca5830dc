// The reader: one message, who it is from, what can be done with it, and its tabs.

import * as api from "./api.js";
import { at, attempt, h, note } from "./dom.js";
import { longTime } from "./format.js";
import { TABS, link } from "./tabs.js";

// Of more addresses than so many, some are shown and the others asked for.
const MANY = 8;
const SHOWN_OF_MANY = 5;

export class Reader {
  /** `actions`: back(), step(n), unread(ids), remove(ids), retag(ids), release(id), canRelease(). */
  constructor(actions) {
    this.root = at("reader");
    this.actions = actions;
    this.message = null;
    this._wanted = null;
    this._tab = null;
  }

  async show(id) {
    if (this._wanted === id) return;
    this._wanted = id;
    this._abort?.abort();
    this._abort = new AbortController();
    if (!id) {
      this.message = null;
      this.root.replaceChildren();
      return;
    }
    this.root.setAttribute("aria-busy", "true");
    try {
      const message = await api.message(id, this._abort.signal);
      if (this._wanted !== id) return;
      this.message = message;
      this._draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      this._wanted = null;
      this.message = null;
      this.root.replaceChildren(h("div.blank", {}, h("h2", {}, "This message cannot be shown"), h("p", {}, error.message),
        h("button", { type: "button", onclick: () => this.actions.back() }, "Back to the list")));
    } finally {
      this.root.removeAttribute("aria-busy");
    }
  }

  /** Go one tab to the right or left. */
  turn(steps) {
    const there = this.message ? TABS.filter((tab) => tab.isThere(this.message)) : [];
    const index = there.findIndex((tab) => tab.name === this._tab);
    if (there.length) this._open(there[(index + steps + there.length) % there.length].name);
  }

  _draw() {
    const message = this.message;
    const there = TABS.filter((tab) => tab.isThere(message));
    const tabs = h("div", { role: "tablist", "aria-label": "Views of the message" }, ...there.map((tab) => {
      const count = tab.count?.(message);
      return h("button", {
        type: "button", role: "tab", id: `tab-${tab.name}`, "aria-controls": "panel", value: tab.name,
        onclick: () => this._open(tab.name), onkeydown: (event) => this._turnByKey(event),
      }, tab.name, count ? h("span.badge", {}, String(count)) : null);
    }));
    this._panel = h("div", { id: "panel", role: "tabpanel" });
    this._found = h("div.found");
    // Whoever goes on from a button finds the same one again.
    const held = this.root.contains(document.activeElement) ? document.activeElement.title : null;
    this.root.replaceChildren(this._toolbar(), this._head(), this._found, tabs, this._panel);
    this.root.scrollTop = 0;
    const same = [...this.root.querySelectorAll(".toolbar [title]")].find((one) => one.title === held);
    if (same || document.activeElement === document.body) (same ?? this.root).focus({ preventScroll: true });
    const wanted = there.find((tab) => tab.name === this._lastTab) ?? there[0];
    this._open(wanted.name, { isChosen: false });
    this._find(message);
  }

  _toolbar() {
    const { ID: id } = this.message;
    const button = (text, title, onclick, name = "button") => h(name, { type: "button", title, onclick }, text);
    const icon = (text, name, key, onclick) =>
      h("button.icon", { type: "button", "aria-label": name, title: `${name} (${key})`, onclick }, text);
    return h("div.toolbar", { role: "toolbar", "aria-label": "Message" },
      h("button.back", { type: "button", "aria-label": "Back", title: "Back to the list (Esc)", onclick: () => this.actions.back() }, "←"),
      icon("↑", "The one above", "k", () => this.actions.step(-1)),
      icon("↓", "The one below", "j", () => this.actions.step(1)),
      h("span.space"),
      button("Unread", "Set unread (u)", () => this.actions.unread([id])),
      button("Tags", "Change the tags (t)", () => this.actions.retag([id])),
      this.actions.canRelease() && button("Release", "Send it on to where it was meant to go (r)", () => this.actions.release(id)),
      h("a.button.save", { href: api.rawAddress(id), download: `${id}.eml`, title: "Save the message as a file" }, "Save"),
      button("Delete", "Delete (d)", () => this.actions.remove([id]), "button.danger"));
  }

  _head() {
    const message = this.message;
    const line = (name, addresses) => addresses.length > 0 && [h("dt", {}, name), h("dd", {}, addressList(addresses))];
    return h("header", {},
      h("h1", { dir: "auto" }, message.Subject || "(no subject)"),
      h("dl", {},
        ...(line("From", message.From ? [message.From] : []) || []),
        ...(line("To", message.To) || []), ...(line("Cc", message.Cc) || []),
        ...(line("Bcc", message.Bcc) || []), ...(line("Reply to", message.ReplyTo) || []),
        h("dt", {}, "Date"), h("dd", {}, longTime(message.Date)),
        message.Username && [h("dt", {}, "Login"), h("dd", {}, message.Username)],
        message.Tags.length > 0 && [h("dt", {}, "Tags"), h("dd", {}, ...message.Tags.map((tag) =>
          h("a.tag", { href: `#${new URLSearchParams({ q: `tag:"${tag}"` })}` }, tag)))]));
  }

  /** Show the codes and links that a person would look for. */
  async _find(message) {
    const [codes, links] = await Promise.all([api.codes(message.ID), api.links(message.ID)]).catch(() => [[], []]);
    if (this.message !== message) return;
    const chips = codes.slice(0, 4).map(({ Code: code }) => h("button.code", {
      type: "button", title: "Copy the code",
      onclick: () => attempt("Not copied", async () => { await navigator.clipboard.writeText(code); note(`${code} copied`); }),
    }, code));
    const more = links.length > 0 && h("details", {}, h("summary", {}, `${links.length} link${links.length === 1 ? "" : "s"}`),
      h("ul.plain", {}, ...links.slice(0, 200).map((one) => h("li", {}, one.Text && one.Text !== one.URL ? `${one.Text}: ` : null, link(one.URL)))));
    this._found.replaceChildren(...[...chips, more].filter(Boolean));
  }

  async _open(name, { isChosen = true } = {}) {
    if (isChosen) this._lastTab = name;
    this._tab = name;
    for (const button of this.root.querySelectorAll("[role=tab]")) {
      const isThis = button.value === name;
      button.setAttribute("aria-selected", isThis);
      button.tabIndex = isThis ? 0 : -1;
    }
    const message = this.message;
    const panel = this._panel;
    panel.className = name.toLowerCase();
    panel.setAttribute("aria-labelledby", `tab-${name}`);
    panel.replaceChildren();
    let content;
    try {
      content = await TABS.find((tab) => tab.name === name).show(message);
    } catch (error) {
      content = h("p.error", {}, error.message);
    }
    if (this._tab === name && this.message === message) {
      panel.replaceChildren(...[content].flat(2).filter(Boolean));
    }
  }

  _turnByKey(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!steps) return;
    event.preventDefault();
    event.stopPropagation();
    this.turn(steps);
    this.root.querySelector("[role=tab][aria-selected=true]").focus();
  }
}

/** Addresses as text; of very many the first, and a button for the others. */
function addressList(addresses) {
  // A name that is written from right to left stays before its address.
  const text = (some) => some.flatMap(({ Name: name, Address: address }, index) =>
    [index ? ", " : "", ...(name ? [h("bdi", {}, name), ` <${address}>`] : [address])]);
  if (addresses.length <= MANY) return text(addresses);
  const more = h("button.link", { type: "button", onclick: () => more.replaceWith(...text(addresses.slice(SHOWN_OF_MANY))) },
    `${addresses.length - SHOWN_OF_MANY} more`);
  return [...text(addresses.slice(0, SHOWN_OF_MANY)), ", ", more];
}
