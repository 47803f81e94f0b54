// The send panel: one push, and the API's yes or no to it, each complaint beside the field that it is about.
import { Problem, type Accepted, type Api } from "./api.js";
import { el, input, make, showError } from "./dom.js";
import { byteLength, jsonFlaw, pushBody, rootField, type PushForm, type TargetKind } from "./fields.js";
import { formatMs } from "./latency.js";

/** A field as the API spells it → the control that holds it. */
const CONTROLS: Record<string, string> = {
  keys: "targets",
  mids: "targets",
  rooms: "targets",
  all: "targets",
  op: "op",
  priority: "priority",
  ttl_s: "ttl",
  delay_s: "delay",
  durable: "durable",
  trace: "durable",
  request_id: "request-id",
  msg: "msg",
  server: "server",
};
const HINTS: Record<TargetKind, string> = {
  keys: "alice, bob",
  mids: "42, 43",
  rooms: "live://1000",
  all: "every session",
};

export interface SendEvents {
  /** The API accepted a push whose POST began at *at* (performance.now). */
  sent(pushId: string, at: number): void;
}

export class SendPanel {
  #busy = false;

  constructor(
    readonly api: Api,
    readonly events: SendEvents,
  ) {
    el("send-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send();
    });
    el("msg").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void this.#send();
    });
    el("msg").addEventListener("input", () => this.#judgeMessage());
    el("as-string").addEventListener("click", () => this.#quoteMessage());
    input("durable").addEventListener("change", () => this.#showLifetime());
    el("target-kind").addEventListener("change", () => this.#showKind());
    input("api-key").addEventListener("input", () => (api.apiKey = input("api-key").value.trim()));
    this.#showKind();
    this.#showLifetime();
    this.#judgeMessage();
  }

  /** Offers this page's own key as the target, unless the user has named another. */
  suggestTarget(key: string): void {
    if (this.#kind === "keys" && !input("targets").value) input("targets").value = key;
  }

  get #kind(): TargetKind {
    return el<HTMLSelectElement>("target-kind").value as TargetKind;
  }

  #showKind(): void {
    const targets = input("targets");
    targets.disabled = this.#kind === "all";
    targets.placeholder = HINTS[this.#kind];
    showError("targets", null);
  }

  #showLifetime(): void {
    input("ttl").placeholder = input("durable").checked ? "86400" : "60";
  }

  #judgeMessage(): void {
    const text = el<HTMLTextAreaElement>("msg").value;
    const flaw = jsonFlaw(text);
    showError("msg", flaw && text.trim() ? `Not JSON: ${flaw}` : flaw);
    el("as-string").hidden = !flaw || !text.trim();
    if (!flaw) el("msg-note").textContent = `JSON, ${byteLength(text.trim())} bytes`;
  }

  #quoteMessage(): void {
    const message = el<HTMLTextAreaElement>("msg");
    message.value = JSON.stringify(message.value);
    this.#judgeMessage();
    message.focus();
  }

  async #send(): Promise<void> {
    if (this.#busy) return;
    for (const id of new Set(Object.values(CONTROLS))) if (id !== "msg") showError(id, null);
    this.#judgeMessage();
    const made = pushBody(this.#form());
    if ("errors" in made) return this.#refused([...made.errors].map(([field, message]) => ({ field, message })));
    this.#busy = true;
    this.#say("", "Sending…");
    const start = performance.now();
    try {
      const accepted = await this.api.push(made.body);
      const answered = performance.now() - start;
      this.events.sent(accepted.pushId, start);
      this.#accepted(accepted, answered);
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#busy = false;
    }
  }

  #form(): PushForm {
    return {
      kind: this.#kind,
      targets: input("targets").value,
      op: input("op").value,
      priority: el<HTMLSelectElement>("priority").value,
      ttlS: input("ttl").value,
      delayS: input("delay").value,
      durable: input("durable").checked,
      trace: input("trace").checked,
      requestId: input("request-id").value,
      server: input("server").value,
      msg: el<HTMLTextAreaElement>("msg").value,
    };
  }

  #accepted(accepted: Accepted, answeredMs: number): void {
    const id = make("code", "", accepted.pushId);
    id.dataset["testid"] = "push-id";
    this.#say("good", `202 accepted in ${formatMs(answeredMs)}`, id, ...receiptLink(accepted));
  }

  #failed(error: unknown): void {
    if (!(error instanceof Problem)) return this.#say("bad", String(error));
    const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    this.#refused(error.errors, `${error.status || ""} ${error.message}${wait}`.trim());
  }

  /** Puts each error beside its control; what belongs to none is listed in the result. */
  #refused(errors: { field: string; message: string }[], title = "Not sent: see the fields above"): void {
    const rest: HTMLElement[] = [];
    let first: HTMLElement | null = null;
    for (const { field, message } of errors) {
      const control = CONTROLS[rootField(field)];
      if (!control) rest.push(make("p", "", field ? `${field}: ${message}` : message));
      else if (control !== "msg" || el("as-string").hidden) showError(control, message);
      if (control) first ??= el(control);
    }
    this.#say("bad", title, ...rest);
    first?.focus();
  }

  #say(tone: "" | "good" | "bad", title: string, ...more: HTMLElement[]): void {
    const result = el("send-result");
    result.dataset["tone"] = tone;
    result.replaceChildren(make("strong", "", title), ...more);
  }
}

/** The way to the receipt, where a push of this form has one. */
function receiptLink({ href }: Accepted): HTMLElement[] {
  const recorded = input("durable").checked || input("trace").checked || input("delay").value.trim();
  if (!recorded || !href.startsWith("/v1/pushes/")) return [];
  const link = make("a", "", "receipt");
  link.setAttribute("href", href);
  link.setAttribute("target", "_blank");
  return [link];
}
