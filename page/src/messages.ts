// The list of what arrived: newest first, bounded, drawn once a frame however fast pushes come.
// Refuses markup: whatever a message holds is shown as text.
import { el, make } from "./dom.js";
import { pretty } from "./fields.js";
import { formatMs, LatencyBook } from "./latency.js";
import type { Push } from "./session.js";

/** Messages kept on the page. */
const KEPT = 200;

interface Row {
  push: Push;
  time: Date;
  at: number;
  latency: number | null;
  shown: HTMLElement | null;
}

export class MessageList {
  readonly #book = new LatencyBook();
  #rows: Row[] = []; // newest first
  #count = 0;
  #drawing = false;

  constructor() {
    el("clear").addEventListener("click", () => this.#clear());
    this.#draw();
  }

  /** A push arrived at *at* (performance.now). */
  add(push: Push, at: number): void {
    this.#count += 1;
    const latency = this.#book.arrived(push.pushId, at);
    this.#rows.unshift({ push, time: new Date(), at, latency, shown: null });
    for (const row of this.#rows.splice(KEPT)) row.shown?.remove();
    this.#drawSoon();
  }

  /** The API accepted a push of this page whose POST began at *at*: its copies may be here already. */
  sent(pushId: string, at: number): void {
    if (!this.#book.sent(pushId, at).length) return;
    for (const row of this.#rows) {
      if (row.push.pushId !== pushId) continue;
      row.latency = row.at - at;
      if (row.shown) showLatency(row.shown, row.latency);
    }
    this.#drawSoon();
  }

  #clear(): void {
    this.#rows = [];
    this.#count = 0;
    this.#book.clear();
    el("messages").replaceChildren();
    this.#draw();
  }

  #drawSoon(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    const draw = () => this.#draw();
    if (document.hidden) setTimeout(draw, 0); // a hidden tab gets no frames
    else requestAnimationFrame(draw);
  }

  #draw(): void {
    this.#drawing = false;
    const fresh = document.createDocumentFragment();
    for (const row of this.#rows) {
      if (row.shown) break; // rows are drawn newest first: all below are on the page
      row.shown = rowElement(row);
      fresh.append(row.shown);
    }
    el("messages").prepend(fresh);
    el("empty").hidden = this.#rows.length > 0;
    el("count").textContent = this.#count.toLocaleString("en");
    el("p50").textContent = formatMs(this.#book.percentile(50));
    el("p99").textContent = formatMs(this.#book.percentile(99));
  }
}

function rowElement({ push, time, latency }: Row): HTMLElement {
  const item = make("li", "message");
  item.dataset["pushId"] = push.pushId;
  const head = make("div", "message-head");
  const clock = make("time", "", time.toLocaleTimeString("en-GB") + `.${String(time.getMilliseconds()).padStart(3, "0")}`);
  clock.setAttribute("datetime", time.toISOString());
  const latencyPill = make("span", "latency");
  head.append(tag("op", String(push.op)), tag("key", push.key), latencyPill);
  const foot = make("div", "message-foot");
  foot.append(clock, make("span", "", push.pushId));
  const body = make("pre", "body", pretty(push.msg));
  item.append(head, body, foot);
  showLatency(item, latency);
  return item;
}

function tag(name: string, value: string): HTMLElement {
  const made = make("span", `tag tag-${name}`);
  made.append(make("span", "tag-name", name), make("bdi", "", value));
  return made;
}

function showLatency(item: HTMLElement, latency: number | null): void {
  const pill = item.querySelector<HTMLElement>(".latency");
  if (!pill) return;
  pill.textContent = latency === null ? "—" : `${formatMs(latency)} REST → browser`;
  pill.title = latency === null ? "Sent elsewhere: this page does not know when" : "From the click on Send to arrival here";
  pill.classList.toggle("known", latency !== null);
}
