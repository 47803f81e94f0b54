// The list of what arrived: newest first, bounded, drawn once a frame however fast pushes come.
// Refuses markup: whatever a message holds is shown as text.
import type { Push } from "../../clients/js/src/index.js";
import { el, make } from "./dom.js";
import { pretty } from "./fields.js";
import { formatMs, LatencyBook } from "./latency.js";

/** Messages kept on the page. */
const KEPT = 200;

interface Row {
  /** null: a notice. */
  push: Push | null;
  time: Date;
  at: number;
  latency: number | null;
  shown: HTMLElement | null;
  draw(): HTMLElement;
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
    const latency = this.#book.arrived(push.push_id, at);
    const time = new Date();
    const row: Row = { push, time, at, latency, shown: null, draw: () => messageElement(push, time, row.latency) };
    this.#put(row);
  }

  /** Says something about the messages, in its place between them. */
  note(text: string, tone: "good" | "bad"): void {
    const time = new Date();
    this.#put({ push: null, time, at: 0, latency: null, shown: null, draw: () => noticeElement(text, tone, time) });
  }

  /** The API accepted a push of this page whose POST began at *at*: its copies may be here already. */
  sent(pushId: string, at: number): void {
    if (!this.#book.sent(pushId, at).length) return;
    for (const row of this.#rows) {
      if (row.push?.push_id !== pushId) continue;
      row.latency = row.at - at;
      if (row.shown) showLatency(row.shown, row.latency);
    }
    this.#drawSoon();
  }

  #put(row: Row): void {
    this.#rows.unshift(row);
    for (const old of this.#rows.splice(KEPT)) old.shown?.remove();
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
      row.shown = row.draw();
      fresh.append(row.shown);
    }
    el("messages").prepend(fresh);
    el("empty").hidden = this.#rows.length > 0;
    el("count").textContent = this.#count.toLocaleString("en");
    el("p50").textContent = formatMs(this.#book.percentile(50));
    el("p99").textContent = formatMs(this.#book.percentile(99));
  }
}

function messageElement(push: Push, time: Date, latency: number | null): HTMLElement {
  const item = make("li", "message");
  item.dataset["pushId"] = push.push_id;
  const head = make("div", "message-head");
  head.append(tag("op", String(push.op)), tag("key", push.key));
  if (push.offset !== undefined) head.append(tag("offset", `${push.offset}`), tag("epoch", String(push.epoch)));
  head.append(make("span", "latency"));
  const foot = make("div", "message-foot");
  foot.append(clock(time), make("span", "", push.push_id));
  item.append(head, make("pre", "body", pretty(push.msg)), foot);
  showLatency(item, latency);
  return item;
}

function noticeElement(text: string, tone: string, time: Date): HTMLElement {
  const item = make("li", "message notice");
  item.dataset["tone"] = tone;
  item.dataset["testid"] = "notice";
  const foot = make("div", "message-foot");
  foot.append(clock(time));
  item.append(make("p", "", text), foot);
  return item;
}

function clock(time: Date): HTMLElement {
  const made = make("time", "", time.toLocaleTimeString("en-GB") + `.${String(time.getMilliseconds()).padStart(3, "0")}`);
  made.setAttribute("datetime", time.toISOString());
  return made;
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
