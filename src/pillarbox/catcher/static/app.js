// The page: what is looked at is in the address (#q=search&box=mailbox&m=message), everything else follows it.
//
// list.js is the list, reader.js the message, tabs.js its views, api.js the server, live.js its events.

import * as api from "./api.js";
import { ask, at, attempt, h, note } from "./dom.js";
import { number } from "./format.js";
import { listen } from "./live.js";
import { MessageList } from "./list.js";
import { Reader } from "./reader.js";

const VIEWS = [
  { name: "All mail", query: "" },
  { name: "Unread", query: "is:unread" },
  { name: "With attachments", query: "has:attachment" },
];
const state = { query: "", box: "", id: null, total: 0, unread: 0, found: 0, tags: [], boxes: [], canRelease: false, server: null };
let stopListening = null;
let hasLoaded = false;

const list = new MessageList({
  load: (range) => api.list({ search: state.query, ...range }).then(took),
  open: (id) => go({ m: id }),
  picked: () => drawListBar(),
  failed: (error) => note(`The list was not loaded: ${error.message}`, { isError: true }),
});
const reader = new Reader({
  back: () => go({ m: "" }),
  step, unread, remove, retag, release,
  canRelease: () => state.canRelease,
});

// Where we are

function place() {
  const values = new URLSearchParams(location.hash.slice(1));
  return { query: values.get("q") ?? "", box: values.get("box") ?? "", id: values.get("m") || null };
}

function address(changes) {
  const values = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(changes)) {
    if (value) values.set(key, value);
    else values.delete(key);
  }
  return `#${values}`;
}

function go(changes, { isReplaced = false } = {}) {
  clearTimeout(later.typing);
  const wanted = address(changes);
  if (isReplaced) history.replaceState(null, "", wanted === "#" ? location.pathname + location.search : wanted);
  else history.pushState(null, "", wanted === "#" ? location.pathname + location.search : wanted);
  arrive();
}

async function arrive() {
  const { query, box, id } = place();
  if (stopListening && query === state.query && box === state.box && id === state.id) return;
  const isOther = query !== state.query || box !== state.box;
  const isLeft = state.id && !id;
  if (box !== state.box || !stopListening) {
    api.useBox(box);
    stopListening?.();
    stopListening = listen(api.eventsAddress(), { event: happened, up, down });
  }
  Object.assign(state, { query, box, id });
  if (document.activeElement !== at("query")) at("query").value = query;
  document.body.classList.toggle("reading", Boolean(id));
  if (isOther || !hasLoaded) {
    hasLoaded = true;
    await list.reload({ isOther: true });
    drawSide();
  }
  list.show(id);
  reader.show(id);
  if (isLeft && document.activeElement === document.body) at("list").focus({ preventScroll: true });
}

// What is there

function took(page) {
  Object.assign(state, { total: page.total, unread: page.unread, found: page.messages_count });
  state.tags = page.tags;
  drawCounts();
  return page;
}

const later = {};

/** Do something soon, once, however often it is asked for. */
function soon(name, work, milliseconds) {
  later[name] ??= setTimeout(() => { delete later[name]; work(); }, milliseconds);
}

const arrivals = [];

function happened({ Type: type, Data: data }) {
  if (type === "new") {
    state.total += 1;
    state.unread += data.Read ? 0 : 1;
    if (state.query) soon("reload", () => list.reload(), 200);
    else {
      state.found += 1;
      arrivals.push(data);
      soon("arrivals", () => list.arrived(arrivals.splice(0)), 20);
    }
    soon("side", loadSide, 500);
  } else if (type === "update") {
    list.update(data.ID, data);
    soon("side", loadSide, 500);
  } else if (type === "stats") {
    const isOff = data.Total !== state.total;
    Object.assign(state, { total: data.Total, unread: data.Unread });
    if (isOff) soon("reload", () => list.reload(), 300);
  } else if (type === "error") {
    note(String(data), { isError: true });
  } else if (["delete", "truncate", "prune"].includes(type)) {
    if (type === "delete" && data.ID === state.id && !removing.has(data.ID)) go({ m: "" }, { isReplaced: true });
    else if (type !== "delete" && state.id) soon("gone", closeIfGone, 100);
    soon("reload", () => list.reload(), 100);
    soon("side", loadSide, 500);
  }
  soon("counts", drawCounts, 50);
}

async function closeIfGone() {
  const { id } = state;
  if (id && !await api.envelope(id).catch(() => null) && id === state.id) go({ m: "" }, { isReplaced: true });
}

function up(isAgain) {
  at("connection").textContent = "";
  document.body.classList.remove("cut-off");
  document.body.classList.add("live");
  if (!isAgain) return;
  list.reload();
  if (!reader.message) reader.show(state.id);
}

function down() {
  at("connection").textContent = "Not connected";
  document.body.classList.remove("live");
  document.body.classList.add("cut-off");
}

// The frame: counts, side, bars

function drawCounts() {
  document.title = state.unread ? `(${state.unread}) Pillarbox` : "Pillarbox";
  const isAll = !state.query;
  const [total, word] = number(state.total, "message").split(" ");
  at("count").replaceChildren(isAll ? total : `${state.found.toLocaleString()} of ${total}`, h("span", {}, ` ${word}`));
  const isEmpty = state.found === 0 && hasLoaded;
  at("empty").hidden = !isEmpty;
  if (isEmpty) drawEmpty();
  drawListBar();
  drawViews();
}

function sideLink(name, changes, isHere, count) {
  return h("li", {}, h("a", { href: address({ m: "", ...changes }), "aria-current": isHere ? "true" : null },
    h("span", {}, name), count ? h("span.badge", {}, count.toLocaleString()) : null));
}

function drawViews() {
  at("views").replaceChildren(...VIEWS.map(({ name, query }) =>
    sideLink(name, { q: query }, state.query === query, { "": state.total, "is:unread": state.unread }[query])));
}

function drawSide() {
  drawViews();
  const { tags, boxes } = state;
  at("tags").hidden = !tags.length;
  at("tags", "ul").replaceChildren(...tags.map((tag) => {
    const query = `tag:"${tag}"`;
    return sideLink(tag, { q: query }, state.query === query);
  }));
  at("boxes").hidden = !boxes.length;
  at("boxes", "ul").replaceChildren(sideLink("All of them", { box: "" }, !state.box), ...boxes.map((box) =>
    sideLink(box.Name, { box: box.Name }, state.box === box.Name, box.Unread)));
}

async function loadSide() {
  const [tags, boxes] = await Promise.all([api.tags(), api.mailboxes()]).catch(() => [state.tags, state.boxes]);
  Object.assign(state, { tags, boxes });
  drawSide();
}

function drawListBar() {
  const picked = [...list.picked];
  const all = at("select-all");
  all.checked = picked.length > 0;
  all.indeterminate = picked.length > 0 && picked.length < state.found;
  const button = (text, title, onclick, name = "button") => h(name, { type: "button", title, onclick }, text);
  at("list-tools").replaceChildren(...(picked.length ? [
    h("span.hint", {}, picked.length.toLocaleString(), h("span.wide-only", {}, " selected")),
    button("Read", "Set read", () => attempt("Not set read", () => api.setRead(picked, true))),
    button("Unread", "Set unread", () => unread(picked)),
    button("Tags", "Change the tags", () => retag(picked)),
    button("Delete", "Delete the selected", () => remove(picked), "button.danger"),
  ] : [
    state.unread > 0 && state.found > 0 && button("All read", "Set all that are listed read", readAll),
    state.found > 0 && h("a.button.wide-only", { href: api.exportAddress(state.query), download: "mails.mbox", title: "Save all that are listed, as an mbox" }, "Save"),
    state.found > 0 && button(state.query ? "Delete found" : "Delete all", "Delete all that are listed", removeAll, "button.danger"),
  ].filter(Boolean)));
}

function drawEmpty() {
  if (state.query) {
    at("empty").replaceChildren(h("h2", {}, "Nothing found"), h("p", {}, "No message matches ", h("code", {}, state.query), "."),
      h("p", {}, h("a", { href: address({ q: "", m: "" }) }, "Show all mail")));
    return;
  }
  const smtp = state.server?.SMTP?.[0] ?? "127.0.0.1:1025";
  const port = smtp.split(":").pop();
  const host = smtp.slice(0, smtp.length - port.length - 1) || "127.0.0.1";
  const example = `printf 'Subject: Hello\\r\\n\\r\\nIt works.\\r\\n' | curl smtp://${smtp} \\\n  --mail-from me@example.org --mail-rcpt you@example.org -T -`;
  at("empty").replaceChildren(
    h("h2", {}, "No mail yet"),
    h("p", {}, "Point your application at this server, and what it sends appears here at once. Nothing goes any further."),
    h("dl", {}, h("dt", {}, "Server"), h("dd", {}, h("code", {}, host)), h("dt", {}, "Port"), h("dd", {}, h("code", {}, port)),
      h("dt", {}, "Login"), h("dd", {}, "none, or any")),
    h("p", {}, "A first message, from a shell:"), h("pre", {}, example),
    h("button", { type: "button", onclick: () => attempt("Not copied", async () => { await navigator.clipboard.writeText(example); note("Copied"); }) }, "Copy"));
}

// What can be done

async function step(steps) {
  const id = await list.neighbour(steps);
  if (id) go({ m: id }, { isReplaced: Boolean(state.id) });
}

function unread(ids) {
  return attempt("Not set unread", async () => {
    await api.setRead(ids, false);
    if (ids.includes(state.id)) go({ m: "" });
  });
}

function readAll() {
  return attempt("Not set read", () => (state.query ? api.setReadFound(state.query, true) : api.setAllRead()));
}

const removing = new Set();

async function remove(ids) {
  if (!ids.length) return;
  ids.forEach((id) => removing.add(id));  // the event may be here before the answer
  const next = ids.includes(state.id) ? await list.neighbour(1) ?? await list.neighbour(-1) : state.id;
  await attempt("Not deleted", async () => {
    await api.remove(ids);
    list.picked.clear();
    go({ m: next && !ids.includes(next) ? next : "" }, { isReplaced: true });
    await list.reload();
    list.show(state.id);
  });
  ids.forEach((id) => removing.delete(id));
}

async function removeAll() {
  const what = state.query ? `${number(state.found, "message")} that match “${state.query}”` : `All ${number(state.found, "message")}`;
  if (!await ask("Delete?", h("p", {}, `${what} will be gone.`), "Delete", { isDangerous: true })) return;
  await attempt("Not deleted", () => (state.query ? api.removeFound(state.query) : api.removeAll()));
  go({ m: "" }, { isReplaced: true });
  await list.reload();
}

async function retag(ids) {
  const known = ids.length === 1 ? (list.summary(ids[0]) ?? reader.message)?.Tags ?? [] : [];
  const field = h("input", { name: "tags", value: known.join(", "), placeholder: "such as: signup, urgent", autocomplete: "off" });
  const values = await ask(`Tags of ${number(ids.length, "message")}`, h("label", {}, "Separated by commas", field), "Set");
  if (!values) return;
  const tags = values.tags.split(",").map((tag) => tag.trim()).filter(Boolean);
  await attempt("Tags not set", async () => {
    await api.setTags(ids, tags);
    soon("side", loadSide, 0);
    if (reader.message && ids.includes(reader.message.ID)) {
      reader._wanted = null;
      reader.show(state.id);
    }
  });
}

async function release(id) {
  const message = reader.message;
  const to = [...message.To, ...message.Cc, ...message.Bcc].map((one) => one.Address).join(", ");
  const field = h("input", { name: "to", value: to, required: true, autocomplete: "off" });
  const values = await ask("Release", h("label", {}, "Send this message on to", field), "Send");
  if (!values) return;
  await attempt("Not sent", async () => {
    await api.release(id, values.to.split(",").map((one) => one.trim()).filter(Boolean));
    note("Sent on");
  });
}

// Help

const row = (key, text) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, text));

const showKeys = () => ask("Keys", h("table.pairs", {}, h("tbody", {},
  row("j  ↓", "the message below"), row("k  ↑", "the message above"), row("[  ]", "the view of the message to the left, to the right"),
  row("x", "select the message"), row("u", "set it unread"), row("t", "change its tags"), row("r", "release it"),
  row("d", "delete it, or all that are selected"), row("/", "search"), row("Esc", "back"), row("?", "this"))));

const SEARCHES = [
  ["invoice \"order 7\"", "both, anywhere"], ["!draft", "all without it; -draft does as well"],
  ["from: to: cc: bcc: reply-to: addressed:", "an address, or a part of one"], ["subject: message-id: tag:", "in that only"],
  ["is:read is:unread is:tagged", ""], ["has:attachment has:inline", ""],
  ["before:2026-05-01 after:yesterday", "when it arrived"], ["larger:2M smaller:10k", "how large it is"],
  ["header:X-Campaign=spring", "in any header"],
];
const showSearches = () => ask("Search", h("table.pairs", {}, h("tbody", {}, ...SEARCHES.map(([example, text]) =>
  h("tr", {}, h("th", { scope: "row" }, h("code", {}, example)), h("td", {}, text))))));

// Light and dark

function useTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  at("theme").textContent = { light: "☀", dark: "☾" }[theme] ?? "◐";
}

function nextTheme() {
  const themes = ["", "dark", "light"];
  const theme = themes[(themes.indexOf(localStorage.getItem("theme") ?? "") + 1) % themes.length];
  localStorage.setItem("theme", theme);
  useTheme(theme);
}

// Keys

const KEYS = {
  j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  "]": () => reader.turn(1), "[": () => reader.turn(-1),
  x: () => { const id = state.id ?? list._summaries[0]?.ID; if (id) list.pick(id, !list.picked.has(id)); },
  u: () => state.id && unread([state.id]),
  t: () => state.id && retag([state.id]),
  r: () => state.id && state.canRelease && release(state.id),
  d: () => remove(list.picked.size ? [...list.picked] : [state.id].filter(Boolean)),
  Delete: () => KEYS.d(),
  "/": () => { at("query").focus(); at("query").select(); },
  "?": showKeys,
  Escape: () => {
    if (state.id) go({ m: "" });
    else if (list.picked.size) list.pickAll(false);
    else if (state.query) go({ q: "" });
  },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target === at("query")) {
    if (event.key === "Escape") at("query").blur();
    return;
  }
  if (event.target.matches("input:not([type=checkbox]), textarea, select")) return;
  const isScrolling = event.key.startsWith("Arrow") && event.target.closest("pre, #panel");
  const action = KEYS[event.key];
  if (!action || isScrolling) return;
  event.preventDefault();
  action();
});

// Beginning

at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  go({ q: at("query").value.trim(), m: "" });
  at("query").blur();
});
at("query").addEventListener("input", () => {
  clearTimeout(later.typing);
  later.typing = setTimeout(() => go({ q: at("query").value.trim(), m: "" }, { isReplaced: true }), 250);
});
at("search-help").addEventListener("click", showSearches);
at("select-all").addEventListener("change", (event) => list.pickAll(event.target.checked));
at("theme").addEventListener("click", nextTheme);
at("keys").addEventListener("click", showKeys);
at("home").addEventListener("click", (event) => { event.preventDefault(); go({ q: "", m: "", box: "" }); });
window.addEventListener("popstate", arrive);
window.addEventListener("hashchange", arrive);
useTheme(localStorage.getItem("theme") ?? "");

attempt("Not all could be loaded", async () => {
  const [webui, server] = await Promise.all([api.webui(), api.server()]);
  state.canRelease = webui.MessageRelay.Enabled;
  state.server = server;
  at("about").textContent = `Pillarbox ${server.Version}`;
  if (state.found === 0) drawCounts();
});
arrive().then(loadSide);
