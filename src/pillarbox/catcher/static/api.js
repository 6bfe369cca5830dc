// The server: Mailpit's API v1 and our own beside it. Errors have a text that can be shown.

let box = "";

/** Look at one mailbox only; "" is all mail. */
export function useBox(name) {
  box = name;
}

function v1(path) {
  return box ? `api/x/mailboxes/${encodeURIComponent(box)}/api/v1/${path}` : `api/v1/${path}`;
}

async function call(path, { method = "GET", json, as = "json", signal } = {}) {
  const options = { method, signal, headers: {} };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is pillarbox still running?");
  }
  if (!response.ok) {
    const text = (await response.text()).trim();
    throw new Error(text.slice(0, 300) || `${response.status} ${response.statusText}`);
  }
  return as === "json" ? response.json() : response.text();
}

const query = (values) => new URLSearchParams(values).toString();
const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;
const one = (id) => `message/${encodeURIComponent(id)}`;

export const webui = () => call("api/v1/webui");
export const server = () => call("api/x/server");
export const mailboxes = () => call("api/x/mailboxes");
export const tags = () => call(v1("tags"));

export function list({ search, start, limit, signal }) {
  return search
    ? call(v1(`search?${query({ query: search, start, limit, tz: zone() })}`), { signal })
    : call(v1(`messages?${query({ start, limit })}`), { signal });
}

export const message = (id, signal) => call(v1(one(id)), { signal });
export const headers = (id) => call(v1(`${one(id)}/headers`));
export const raw = (id) => call(v1(`${one(id)}/raw`), { as: "text" });
export const htmlCheck = (id) => call(v1(`${one(id)}/html-check`));
export const linkCheck = (id) => call(v1(`${one(id)}/link-check`));
export const envelope = (id) => call(`api/x/${one(id)}/envelope`);
export const dialogue = (id) => call(`api/x/${one(id)}/session`);
export const links = (id) => call(`api/x/${one(id)}/links`);
export const codes = (id) => call(`api/x/${one(id)}/codes`);

export function exportAddress(search) {
  const base = box ? `api/x/mailboxes/${encodeURIComponent(box)}/api/x/` : "api/x/";
  return `${base}export.mbox?${query(search ? { query: search, tz: zone() } : {})}`;
}

export const rawAddress = (id) => v1(`${one(id)}/raw`);
export const partAddress = (id, part) => v1(`${one(id)}/part/${encodeURIComponent(part)}`);
export const thumbAddress = (id, part) => `${partAddress(id, part)}/thumb`;
export const viewAddress = (id, { isRemote, isDark }) =>
  `view/${encodeURIComponent(id)}.html?embed=1&scheme=${isDark ? "dark" : "light"}${isRemote ? "&remote=1" : ""}`;
export const eventsAddress = () =>
  box ? `api/x/mailboxes/${encodeURIComponent(box)}/api/events` : "api/events";

export const setRead = (ids, read) =>
  call(v1("messages"), { method: "PUT", json: { IDs: ids, Read: read }, as: "text" });
export const setReadFound = (search, read) =>
  call(v1("messages"), { method: "PUT", json: { Search: search, Read: read }, as: "text" });
export const setAllRead = () =>
  call(v1("messages"), { method: "PUT", json: { Read: true }, as: "text" });
export const remove = (ids) => call(v1("messages"), { method: "DELETE", json: { IDs: ids }, as: "text" });
export const removeAll = () => call(v1("messages"), { method: "DELETE", as: "text" });
export const removeFound = (search) =>
  call(v1(`search?${query({ query: search, tz: zone() })}`), { method: "DELETE", as: "text" });
export const setTags = (ids, names) =>
  call(v1("tags"), { method: "PUT", json: { IDs: ids, Tags: names }, as: "text" });
export const release = (id, to) =>
  call(v1(`${one(id)}/release`), { method: "POST", json: { To: to }, as: "text" });
