// The connect panel: who this browser is, which node it talks to, and what the connection is doing.
import { Client, type Gap, type Push, type Ready, type State, type Status, type Where } from "../../clients/js/src/index.js";
import { Problem, type Api, type NodeInfo } from "./api.js";
import { el, input, make, showError } from "./dom.js";
import { gapNotice, parseOps, readyNotice, splitList } from "./fields.js";

const BEST = "best";
const ATTEMPTS = 60;
const SAYS: Record<State, string> = {
  closed: "Disconnected",
  connecting: "Connecting…",
  connected: "Connected",
  reconnecting: "Reconnecting…",
};

export interface ConnectEvents {
  push(push: Push, at: number): void;
  connected(key: string): void;
  /** Something that one should know of the messages: what a session was missing, or that it missed nothing. */
  notice(text: string, tone: "good" | "bad"): void;
}

export class ConnectPanel {
  #client: Client | null = null;
  #rooms: string[] = [];
  #nodes: NodeInfo[] = [];

  constructor(
    readonly api: Api,
    readonly events: ConnectEvents,
  ) {
    el("connect-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#idle) this.#connect();
      else this.#client?.close();
    });
    el("join").addEventListener("click", () => void this.#addRooms());
    el("connect-form").addEventListener("keydown", (event) => this.#entered(event));
    el("accept").addEventListener("click", () => void this.#accept());
    el("refresh").addEventListener("click", () => void this.refreshNodes());
    this.#show({ state: "closed", reason: "" });
    this.#showRooms([]);
  }

  get #idle(): boolean {
    return this.#state === "closed";
  }

  get #state(): State {
    return this.#client?.status.state ?? "closed";
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

  #show({ state, reason }: Status): void {
    const shown = el("state");
    shown.textContent = SAYS[state];
    shown.dataset["state"] = state;
    el("state-reason").textContent = reason;
    const { node = "", session = "", key = "" } = this.#client?.session ?? {};
    for (const [part, value] of Object.entries({ node, session, key })) {
      el(`at-${part}`).textContent = value || "—";
      el(`at-${part}`).title = value;
    }
    this.#showTransport();
    const idle = state === "closed";
    el("connect").textContent = idle ? "Connect" : state === "connected" ? "Disconnect" : "Cancel";
    el("connect").classList.toggle("primary", idle);
    for (const id of ["key", "mid", "node", "token"]) input(id).disabled = !idle;
    el("join").textContent = state === "connected" ? "Join" : "Add";
    el<HTMLButtonElement>("accept").disabled = state !== "connected";
  }

  /** May change during a session: polling becomes websocket. */
  #showTransport(): void {
    el("at-transport").textContent = this.#client?.transport || "—";
  }

  #ready(ready: Ready): void {
    this.events.connected(ready.key);
    this.#showRooms(this.#client?.rooms ?? []);
    const notice = readyNotice(ready);
    if (notice) this.events.notice(notice, "good");
  }

  #gap(gap: Gap): void {
    this.events.notice(gapNotice(gap), "bad");
  }

  #showRooms(rooms: string[]): void {
    this.#rooms = rooms;
    el("room-list").replaceChildren(...rooms.map((room) => this.#chip(room)));
  }

  /** Enter acts on the field it is pressed in; it connects, but never disconnects by accident. */
  #entered(event: KeyboardEvent): void {
    if (event.key !== "Enter" || event.isComposing || !(event.target instanceof HTMLInputElement)) return;
    const id = event.target.id;
    if (id === "rooms" && event.target.value.trim()) void this.#addRooms();
    else if (this.#idle) return;
    else if (id === "accepts") void this.#accept();
    event.preventDefault();
  }

  #connect(): void {
    const accepts = parseOps(input("accepts").value);
    showError("accepts", "error" in accepts ? accepts.error : null);
    if ("error" in accepts) return;
    this.#showRooms(splitList([...this.#rooms, input("rooms").value].join("\n")));
    input("rooms").value = "";
    const client = new Client({
      url: () => this.#where(),
      key: input("key").value.trim(),
      mid: input("mid").value.trim(),
      rooms: this.#rooms,
      accepts: accepts.ops.length ? accepts.ops : null,
      token: input("token").value.trim() || undefined,
      attempts: ATTEMPTS,
    });
    this.#client = client;
    client.on("state", (status) => this.#show(status));
    client.on("ready", (ready) => this.#ready(ready));
    client.on("gap", (gap) => this.#gap(gap));
    client.on("error", (error) => this.events.notice(error.message, "bad"));
    client.on("push", (push) => {
      this.#showTransport();
      this.events.push(push, performance.now());
    });
    client.connect();
  }

  async #where(): Promise<Where> {
    const chosen = el<HTMLSelectElement>("node").value;
    const node = this.#nodes.find((each) => each.node === chosen);
    if (node) return { url: node.url };
    try {
      return await this.api.best();
    } catch (error) {
      throw new Error(messageOf(error));
    }
  }

  async #addRooms(): Promise<void> {
    const field = input("rooms");
    const wanted = splitList(field.value);
    showError("rooms", null);
    if (this.#state === "connected") {
      for (const room of wanted) if (!(await this.#tried("rooms", (client) => client.join(room)))) return;
    } else this.#showRooms([...new Set([...this.#rooms, ...wanted])]);
    field.value = "";
  }

  async #leave(room: string): Promise<void> {
    if (this.#state === "connected") await this.#tried("rooms", (client) => client.leave(room));
    else this.#showRooms(this.#rooms.filter((each) => each !== room));
    input("rooms").focus();
  }

  async #accept(): Promise<void> {
    const parsed = parseOps(input("accepts").value);
    if ("error" in parsed) return showError("accepts", parsed.error);
    await this.#tried("accepts", (client) => client.accept(parsed.ops.length ? parsed.ops : null));
  }

  /** Whether the node did it; what went wrong stands under the control *id*. */
  async #tried(id: string, act: (client: Client) => Promise<unknown>): Promise<boolean> {
    const client = this.#client;
    if (!client) return false;
    let flaw: string | null = null;
    try {
      await act(client);
      this.#showRooms(client.rooms);
    } catch (error) {
      flaw = messageOf(error);
    }
    showError(id, flaw);
    return flaw === null;
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
