// The tabs of a message: each a name, when it is there, and what it shows.

import * as api from "./api.js";
import { h } from "./dom.js";
import { number, size } from "./format.js";

// Longer texts make browsers slow; the whole is a click away.
const MAX_SHOWN = 400_000;
const LINK = /\bhttps?:\/\/[^\s<>"'`{}|\\^]+[^\s<>"'`{}|\\^.,;:!?()[\]]/g;

export const TABS = [
  { name: "HTML", isThere: (message) => Boolean(message.HTML), show: showHtml },
  { name: "Text", isThere: () => true, show: (message) => pre(message.Text || "(no text)", { linked: true }) },
  { name: "Source", isThere: (message) => Boolean(message.HTML), show: (message) => pre(message.HTML) },
  { name: "Headers", isThere: () => true, show: showHeaders },
  { name: "Raw", isThere: () => true, show: showRaw },
  {
    name: "Attachments",
    isThere: (message) => message.Attachments.length + message.Inline.length > 0,
    count: (message) => message.Attachments.length + message.Inline.length,
    show: showAttachments,
  },
  { name: "Envelope", isThere: () => true, show: async (message) => values(await api.envelope(message.ID)) },
  { name: "Dialogue", isThere: () => true, show: showDialogue },
  { name: "Checks", isThere: () => true, show: showChecks },
];

function pre(text, { linked = false } = {}) {
  const shown = text.length > MAX_SHOWN ? text.slice(0, MAX_SHOWN) : text;
  const element = h(linked ? "pre.text" : "pre", { tabindex: "0" }, ...(linked ? withLinks(shown) : [shown]));
  if (shown.length === text.length) return element;
  return [h("p.hint", {}, `The first ${MAX_SHOWN.toLocaleString()} characters; Raw has a link to all of it.`), element];
}

function withLinks(text) {
  const pieces = [];
  let end = 0;
  for (const found of text.matchAll(LINK)) {
    pieces.push(text.slice(end, found.index), link(found[0]));
    end = found.index + found[0].length;
  }
  return [...pieces, text.slice(end)];
}

/** A link of a mail: it opens elsewhere and tells nobody where it came from. */
export function link(address, text = address) {
  const isWeb = /^https?:\/\//i.test(address);
  if (!isWeb) return h("span", {}, text);
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, text);
}

// HTML

const view = { width: "full", isDark: null };

/** Whether the page is dark, and a mail that can be with it. */
function isDarkPage() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function showHtml(message) {
  let isRemote = false;
  view.isDark ??= isDarkPage();
  // A click on a link opens a page of its own, which knows nothing of this one; all else is refused.
  const frame = h("iframe", {
    title: "The message", sandbox: "allow-popups allow-popups-to-escape-sandbox", referrerpolicy: "no-referrer",
  });
  const stage = h("div.stage", {}, frame);
  const draw = () => {
    stage.dataset.width = view.width;
    stage.classList.toggle("dark", view.isDark);
    for (const button of widths) button.setAttribute("aria-pressed", button.value === view.width);
    dark.setAttribute("aria-pressed", view.isDark);
  };
  const load = () => { frame.src = api.viewAddress(message.ID, { isRemote, isDark: view.isDark }); };
  const widths = ["320", "768", "full"].map((width) =>
    h("button", { type: "button", value: width, onclick: () => { view.width = width; draw(); } },
      width === "full" ? "Full" : `${width} px`));
  const dark = h("button", { type: "button", title: "As a mail program in dark mode shows it", onclick: () => { view.isDark = !view.isDark; draw(); load(); } }, "Dark");
  const hasRemote = /<[^>]+\s(?:src|srcset|background|poster)\s*=\s*["']?\s*https?:|url\(\s*["']?\s*https?:/i.test(message.HTML);
  const remote = hasRemote && h("button", { type: "button", title: "Their servers see that you look at it", onclick: () => { isRemote = true; load(); remote.remove(); } }, "Load remote images");
  draw();
  load();
  return [h("div.bar", {}, h("span.group", { role: "group", "aria-label": "Width" }, ...widths), dark, remote), stage];
}

// Headers, raw, dialogue

async function showHeaders(message) {
  const headers = await api.headers(message.ID);
  const rows = Object.entries(headers).flatMap(([name, all]) =>
    all.map((value) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value))));
  return h("table.pairs", {}, h("tbody", {}, ...rows));
}

async function showRaw(message) {
  const text = await api.raw(message.ID);
  return [
    h("p.bar", {}, h("a", { href: api.rawAddress(message.ID), download: `${message.ID}.eml` }, `Download ${size(message.Size)}`)),
    pre(text),
  ];
}

async function showDialogue(message) {
  const { Lines: lines } = await api.dialogue(message.ID);
  if (!lines?.length) return h("p.hint", {}, "The dialogue was not kept.");
  return h("pre.dialogue", { tabindex: "0" },
    ...lines.map((line) => h(/^S: [45]/.test(line) ? "span.bad" : line.startsWith("C:") ? "span.client" : "span.hint", {}, `${line}\n`)));
}

/** Any answer of the server as a table. */
function values(object) {
  const text = (value) => {
    if (value === null || value === undefined || value === "") return h("span.hint", {}, "–");
    if (Array.isArray(value)) return value.length ? h("ul.plain", {}, ...value.map((one) => h("li", {}, text(one)))) : h("span.hint", {}, "–");
    if (typeof value === "object") return Object.keys(value).length ? values(value) : h("span.hint", {}, "–");
    return String(value);
  };
  return h("table.pairs", {}, h("tbody", {}, ...Object.entries(object).map(([name, value]) =>
    h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, text(value))))));
}

// Attachments

function showAttachments(message) {
  const cards = [...message.Attachments, ...message.Inline].map((part) => {
    const name = part.FileName || part.ContentID || `part ${part.PartID}`;
    const picture = part.ContentType.startsWith("image/")
      ? h("img", { src: api.thumbAddress(message.ID, part.PartID), alt: "", loading: "lazy", onerror: (event) => event.target.remove() })
      : null;
    return h("a.card", { href: api.partAddress(message.ID, part.PartID), download: name },
      h("span.thumb", {}, picture), h("span.name", {}, name),
      h("span.hint", {}, `${part.ContentType}, ${size(part.Size)}`));
  });
  return h("div.cards", {}, ...cards);
}

// Checks

function showChecks(message) {
  const part = (title, explanation, action, work) => {
    const result = h("div", { "aria-live": "polite" });
    const button = h("button", { type: "button", onclick: async () => {
      button.disabled = true;
      result.replaceChildren(h("p.hint", {}, "…"));
      try {
        result.replaceChildren(...[await work()].flat());
      } catch (error) {
        result.replaceChildren(h("p.error", {}, error.message));
      }
      button.disabled = false;
    } }, action);
    return h("section.check", {}, h("h3", {}, title), h("p.hint", {}, explanation), button, result);
  };
  return [
    message.HTML && part("HTML", "How much of the mail's HTML and CSS mail programs understand.", "Check the HTML", () => htmlReport(message)),
    part("Links", "Whether the links of the mail answer: each is asked for its headers.", "Ask the links", () => linkReport(message)),
  ].filter(Boolean);
}

async function htmlReport(message) {
  const { Total: total, Warnings: warnings } = await api.htmlCheck(message.ID);
  const meter = h("div.meter", {}, ...[["good", total.Supported], ["fair", total.Partial], ["bad", total.Unsupported]].map(([name, share]) => {
    const piece = h(`span.${name}`, { title: `${Math.round(share)} %` });
    piece.style.width = `${share}%`;
    return piece;
  }));
  const summary = h("p", {}, `${Math.round(total.Supported)} % understood, ${Math.round(total.Partial)} % in part, ${Math.round(total.Unsupported)} % not; ${number(total.Tests, "test")}, ${number(total.Nodes, "element")}.`);
  const rows = (warnings ?? []).map((warning) => h("tr", {},
    h("th", { scope: "row" }, warning.URL ? link(warning.URL, warning.Title) : warning.Title),
    h("td", {}, `${Math.round(warning.Score.Unsupported)} % do not, ${Math.round(warning.Score.Partial)} % in part (${number(warning.Score.Found, "time")})`)));
  return [meter, summary, h("table.pairs", {}, h("tbody", {}, ...rows))];
}

async function linkReport(message) {
  const { Links: found } = await api.linkCheck(message.ID);
  if (!found?.length) return h("p", {}, "There are no links.");
  return h("table.pairs", {}, h("tbody", {}, ...found.map((one) => h("tr", {},
    h(one.StatusCode >= 200 && one.StatusCode < 400 ? "th.good" : "th.bad", { scope: "row" }, `${one.StatusCode || ""} ${one.Status}`),
    h("td", {}, link(one.URL))))));
}

