// The connect panel: who this browser is, which node it talks to, and what the connection is doing.
import { Problem, type Api, type Backoff, type NodeInfo } from "./api.js";
import { el, input, make, showError } from "./dom.js";
import { parseOps, splitList } from "./fields.js";
import { Session, type Listener, type Push, type State, type Status } from "./session.js";

const BEST = "best";
const SAYS: Record<State, string> = {
  disconnected: "Disconnected",
  connecting: "Connecting…",
  connected: "Connected",
  reconnecting: "Reconnecting…",
};

export interface ConnectEvents {
  push(push: Push, at: number): void;
  connected(key: string): void;
}

export class ConnectPanel implements Listener {
  readonly #session = new Session(this);
  #rooms: string[] = [];
  #nodes: NodeInfo[] = [];
  #busy = false;

  constructor(
    readonly api: Api,
    readonly events: ConnectEvents,
  ) {
    el("connect-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void (this.#session.status.state === "disconnected" ? this.#connect() : this.#session.close());
    });
    el("join").addEventListener("click", () => void this.#addRooms());
    el("connect-form").addEventListener("keydown", (event) => this.#entered(event));
    el("accept").addEventListener("click", () => void this.#accept());
    el("refresh").addEventListener("click", () => void this.refreshNodes());
    this.status(this.#session.status);
    this.rooms([]);
  }

  async refreshNodes(): Promise<void> {
    try {
      this.#nodes = await this.api.nodes();
      showError("node", null);
    } catch (error) {
      showError("node", messageOf(error));
    }
    const select = el<HTMLSelectElement>("node");
    const chosen = select.value;
    select.replaceChildren(
      new Option("best (least loaded)", BEST),
      ...this.#nodes.map((each) => {
        const state = each.draining ? ", draining" : "";
        return new Option(`${each.node} (${each.sessions} session${each.sessions === 1 ? "" : "s"}${state})`, each.node);
      }),
    );
    select.value = this.#nodes.some((each) => each.node === chosen) ? chosen : BEST;
    el("servers").replaceChildren(...this.#nodes.map((each) => new Option(each.node, each.node)));
  }

  status(status: Status): void {
    const state = el("state");
    state.textContent = SAYS[status.state];
    state.dataset["state"] = status.state;
    el("state-reason").textContent = status.reason;
    for (const part of ["transport", "node", "session", "key"] as const) {
      const shown = el(`at-${part}`);
      shown.textContent = status[part] || "—";
      shown.title = status[part];
    }
    const idle = status.state === "disconnected";
    el("connect").textContent = idle ? "Connect" : status.state === "connected" ? "Disconnect" : "Cancel";
    el("connect").classList.toggle("primary", idle);
    for (const id of ["key", "mid", "node", "token"]) input(id).disabled = !idle;
    el("join").textContent = status.state === "connected" ? "Join" : "Add";
    el<HTMLButtonElement>("accept").disabled = status.state !== "connected";
    if (status.state === "connected") this.events.connected(status.key);
  }

  push(push: Push, at: number): void {
    this.events.push(push, at);
  }

  rooms(rooms: string[]): void {
    this.#rooms = rooms;
    el("room-list").replaceChildren(...rooms.map((room) => this.#chip(room)));
  }

  /** Enter acts on the field it is pressed in; it connects, but never disconnects by accident. */
  #entered(event: KeyboardEvent): void {
    if (event.key !== "Enter" || event.isComposing || !(event.target instanceof HTMLInputElement)) return;
    const idle = this.#session.status.state === "disconnected";
    const id = event.target.id;
    if (id === "rooms" && event.target.value.trim()) void this.#addRooms();
    else if (idle) return;
    else if (id === "accepts") void this.#accept();
    event.preventDefault();
  }

  async #connect(): Promise<void> {
    const accepts = parseOps(input("accepts").value);
    showError("accepts", "error" in accepts ? accepts.error : null);
    if ("error" in accepts || this.#busy) return;
    this.#busy = true;
    try {
      const { url, backoff } = await this.#where();
      this.rooms(splitList([...this.#rooms, input("rooms").value].join("\n")));
      input("rooms").value = "";
      const identity = {
        key: input("key").value.trim(),
        mid: input("mid").value.trim(),
        rooms: this.#rooms,
        accepts: accepts.ops.length ? accepts.ops : null,
        token: input("token").value.trim(),
      };
      this.#session.open(url, backoff, identity, () => this.#where());
    } catch (error) {
      this.#session.close(messageOf(error));
    } finally {
      this.#busy = false;
    }
  }

  async #where(): Promise<{ url: string; backoff: Backoff | null }> {
    const chosen = el<HTMLSelectElement>("node").value;
    const node = this.#nodes.find((each) => each.node === chosen);
    return node ? { url: node.url, backoff: null } : this.api.best();
  }

  async #addRooms(): Promise<void> {
    const field = input("rooms");
    const wanted = splitList(field.value);
    showError("rooms", null);
    if (this.#session.status.state !== "connected") {
      this.rooms([...new Set([...this.#rooms, ...wanted])]);
      field.value = "";
      return;
    }
    for (const room of wanted) {
      const error = await this.#session.room("join", room);
      if (error) return showError("rooms", error);
    }
    field.value = "";
  }

  async #leave(room: string): Promise<void> {
    if (this.#session.status.state === "connected") showError("rooms", await this.#session.room("leave", room));
    else this.rooms(this.#rooms.filter((each) => each !== room));
    input("rooms").focus();
  }

  async #accept(): Promise<void> {
    const parsed = parseOps(input("accepts").value);
    showError("accepts", "error" in parsed ? parsed.error : await this.#session.accept(parsed.ops));
  }

  #chip(room: string): HTMLElement {
    const chip = make("li", "chip");
    chip.dataset["testid"] = "room-chip";
    const leave = make("button", "chip-leave", "×");
    leave.setAttribute("type", "button");
    leave.setAttribute("aria-label", `Leave ${room}`);
    leave.addEventListener("click", () => void this.#leave(room));
    chip.append(make("span", "chip-name", room), leave);
    return chip;
  }
}

function messageOf(error: unknown): string {
  if (error instanceof Problem && error.status) return `${error.status}: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}
