// The list: however many messages there are, only the rows in sight are made and loaded.

import { at, h } from "./dom.js";
import { longTime, receivers, shortTime, size, who } from "./format.js";

const PAGE = 100;
const SPARE_ROWS = 8;
// Browsers know no element that is higher than some 33 million pixels.
const MAX_ROWS = 400_000;

export class MessageList {
  /** `source.load({start, limit, signal})` gives a page; `source.open(id)`, `source.picked()`. */
  constructor(source) {
    this.source = source;
    this.root = at("list");
    this.rows = at("list", "ul");
    this.total = 0;
    this.openId = null;
    this.picked = new Set();
    this._summaries = [];
    this._made = new Map();
    this._loading = new Map();
    this._round = 0;
    this._lastPicked = null;
    this._isDrawn = true;
    this.root.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  get height() {
    this._height ||= parseFloat(getComputedStyle(this.root).getPropertyValue("--row")) || 76;
    return this._height;
  }

  /** Load what is in sight anew; with `isOther`, something else altogether, from its top. */
  async reload({ isOther = false } = {}) {
    this._round += 1;
    for (const abort of this._loading.values()) abort.abort();
    this._loading.clear();
    if (isOther) {
      this.picked.clear();
      this._lastPicked = null;
      this.root.scrollTop = 0;
    }
    const first = Math.floor(this.root.scrollTop / this.height / PAGE);
    const page = await this._load(first, { isFresh: true });
    if (page && page.messages.length === 0 && page.messages_count > 0 && first > 0) {
      this.root.scrollTop = 0;
      return this.reload();
    }
    return page;
  }

  /** Put new messages on top; what is in sight stays where it is, unless it is the top. */
  arrived(summaries) {
    const known = new Set(this._summaries.slice(0, PAGE).map((summary) => summary?.ID));
    const fresh = summaries.filter((summary) => !known.has(summary.ID));
    if (!fresh.length) return;
    this._summaries = [...fresh.reverse(), ...this._summaries];
    this.total += fresh.length;
    if (this.root.scrollTop > this.height / 2) {
      this._resize();
      this.root.scrollTop += fresh.length * this.height;
    }
    this.draw();
  }

  /** Take over what changed of a message. */
  update(id, changes) {
    const index = this.indexOf(id);
    if (index < 0) return;
    this._summaries[index] = { ...this._summaries[index], ...changes };
    this.draw();
  }

  indexOf(id) {
    return this._summaries.findIndex((summary) => summary?.ID === id);
  }

  summary(id) {
    return this._summaries[this.indexOf(id)];
  }

  /** The id some steps below (or above) the open message; null at an end. */
  async neighbour(steps) {
    const index = this.openId ? this.indexOf(this.openId) : -1;
    const wanted = index < 0 ? 0 : index + steps;
    if (wanted < 0 || wanted >= this.total) return null;
    if (!this._summaries[wanted]) await this._load(Math.floor(wanted / PAGE));
    return this._summaries[wanted]?.ID ?? null;
  }

  show(id) {
    this.openId = id;
    const index = this.indexOf(id);
    if (index >= 0) {
      const top = index * this.height;
      const { scrollTop, clientHeight } = this.root;
      if (top < scrollTop) this.root.scrollTop = top;
      else if (top + this.height > scrollTop + clientHeight) {
        this.root.scrollTop = top + this.height - clientHeight;
      }
    }
    this.draw();
  }

  // Picking

  pick(id, isPicked, { isRange = false } = {}) {
    const end = this.indexOf(id);
    const start = isRange && this._lastPicked ? this.indexOf(this._lastPicked) : end;
    for (let index = Math.min(start, end); index <= Math.max(start, end); index += 1) {
      const summary = this._summaries[index];
      if (!summary) continue;
      if (isPicked) this.picked.add(summary.ID);
      else this.picked.delete(summary.ID);
    }
    this._lastPicked = id;
    this.draw();
    this.source.picked();
  }

  pickAll(isPicked) {
    this.picked.clear();
    if (isPicked) for (const summary of this._summaries) if (summary) this.picked.add(summary.ID);
    this.draw();
    this.source.picked();
  }

  // Drawing

  draw() {
    if (!this._isDrawn) return;
    this._isDrawn = false;
    requestAnimationFrame(() => {
      this._isDrawn = true;
      this._draw();
    });
  }

  _resize() {
    this.rows.style.height = `${Math.min(this.total, MAX_ROWS) * this.height}px`;
  }

  _draw() {
    this._height = 0;
    this._resize();
    const first = Math.max(0, Math.floor(this.root.scrollTop / this.height) - SPARE_ROWS);
    const shown = Math.ceil(this.root.clientHeight / this.height) + 2 * SPARE_ROWS;
    const last = Math.min(this.total, MAX_ROWS, first + shown);
    const seen = new Set();
    for (let index = first; index < last; index += 1) {
      const summary = this._summaries[index];
      const key = summary ? summary.ID : `row ${index}`;
      seen.add(key);
      this._place(key, index, summary);
      if (!summary) this._load(Math.floor(index / PAGE));
    }
    for (const [key, made] of this._made) {
      if (seen.has(key)) continue;
      made.element.remove();
      this._made.delete(key);
    }
    // Tab and screen readers go by the order of the elements.
    const inOrder = [...this._made.values()].sort((a, b) => a.index - b.index);
    const held = document.activeElement;
    inOrder.forEach(({ element }, place) => {
      if (this.rows.children[place] !== element) this.rows.insertBefore(element, this.rows.children[place] ?? null);
    });
    if (held !== document.activeElement && this.rows.contains(held)) held.focus({ preventScroll: true });
  }

  _place(key, index, summary) {
    let made = this._made.get(key);
    if (!made || made.summary !== summary) {
      const element = summary ? this._row(summary) : h("li.hole", { "aria-hidden": "true" });
      const held = made?.element.contains(document.activeElement) ? document.activeElement.localName : null;
      if (made) made.element.replaceWith(element);
      else this.rows.append(element);
      if (held) element.querySelector(held)?.focus({ preventScroll: true });
      made = { element, summary };
      this._made.set(key, made);
    }
    made.index = index;
    const { element } = made;
    element.style.transform = `translateY(${index * this.height}px)`;
    element.setAttribute("aria-posinset", index + 1);
    element.setAttribute("aria-setsize", this.total);
    if (!summary) return;
    const isOpen = summary.ID === this.openId;
    const isPicked = this.picked.has(summary.ID);
    element.classList.toggle("open", isOpen);
    element.classList.toggle("picked", isPicked);
    element.querySelector("a").toggleAttribute("aria-current", isOpen);
    element.querySelector("input").checked = isPicked;
  }

  _row(summary) {
    const open = (event) => {
      if (event.metaKey || event.ctrlKey) return;
      event.preventDefault();
      if (event.shiftKey) this.pick(summary.ID, true, { isRange: true });
      else this.source.open(summary.ID);
    };
    const tick = (event) => this.pick(summary.ID, event.target.checked, { isRange: this._isShift });
    const subject = summary.Subject || "(no subject)";
    const [first, others] = receivers(summary);
    return h(summary.Read ? "li" : "li.unread", {},
      h("label.tick", { onclick: (event) => { this._isShift = event.shiftKey; } },
        h("input", { type: "checkbox", "aria-label": `Select ${subject}`, onchange: tick })),
      h("a", { href: `#${new URLSearchParams({ m: summary.ID })}`, onclick: open },
        h("span.line", {},
          h("span.from", { title: summary.From?.Address ?? "" },
            h("bdi.name", {}, who(summary.From)), h("span.to", {}, "to ", h("bdi", {}, first), others)),
          h("time", { datetime: summary.Created, title: longTime(summary.Created) }, shortTime(summary.Created))),
        h("span.line", {},
          h("span.subject", { dir: "auto" }, subject),
          summary.Attachments > 0 && h("span.clip", { title: `${summary.Attachments} attached`, role: "img", "aria-label": "with attachments" })),
        h("span.line", {},
          h("span.snippet", { dir: "auto" }, summary.Snippet || " "),
          ...summary.Tags.slice(0, 3).map((tag) => h("span.tag", {}, tag)),
          h("span.size", {}, size(summary.Size)))));
  }

  // Loading

  async _load(number, { isFresh = false } = {}) {
    if (this._loading.has(number)) return undefined;
    const abort = new AbortController();
    const round = this._round;
    this._loading.set(number, abort);
    try {
      const page = await this.source.load({ start: number * PAGE, limit: PAGE, signal: abort.signal });
      if (round !== this._round) return undefined;
      if (isFresh) this._summaries = [];
      this.total = page.messages_count;
      this._summaries.length = Math.min(this._summaries.length, this.total);
      page.messages.forEach((summary, index) => { this._summaries[number * PAGE + index] = summary; });
      this.draw();
      return page;
    } catch (error) {
      if (error.name !== "AbortError") this.source.failed(error);
      return undefined;
    } finally {
      if (this._loading.get(number) === abort) this._loading.delete(number);
    }
  }
}
