// Elements, made without a line of HTML: whatever a mail says stays text.

/** Make an element: h("a.tag", {href, onclick}, "text", child, ...). */
export function h(name, props = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Find the element of an id, or the first that a selector finds below it. */
export function at(id, selector) {
  const element = document.getElementById(id);
  return selector ? element.querySelector(selector) : element;
}

/** Say something that passes: what went wrong, or what was done. */
export function note(text, { isError = false } = {}) {
  const line = h(isError ? "p.note.error" : "p.note", {}, text,
    h("button.icon", { type: "button", "aria-label": "Close", onclick: () => line.remove() }, "×"));
  at("notes").replaceChildren(line);
  if (!isError) setTimeout(() => line.remove(), 4000);
}

/** Do something that may fail, and say so if it does. */
export async function attempt(what, work) {
  try {
    return await work();
  } catch (error) {
    note(`${what}: ${error.message}`, { isError: true });
    return undefined;
  }
}

/** Ask in a dialog; gives the form's values, or null. */
export function ask(title, body, action, { isDangerous = false } = {}) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-label": title },
      h("form", { method: "dialog" },
        h("h2", {}, title), body,
        h("div.actions", {},
          // No submit button: Enter in a field presses the first of those.
          h("button", { type: "button", onclick: () => dialog.close("") }, action ? "Cancel" : "Close"),
          action && h(isDangerous ? "button.danger" : "button.main", { value: "yes" }, action))));
    dialog.addEventListener("close", () => {
      const values = Object.fromEntries(new FormData(dialog.querySelector("form")));
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? values : null);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
