// What a session has had of each key, and what the app has done with it. No sockets, no clock.
//
// `received` is where the wire is: what came, handled or still waiting. `done` is where the app is: only that is stored
// and told to nodes (who take a cursor for an ack), so a page that goes away in between gets the rest again. Both are set in one task with the storage's own write: a
// reload cannot come between the end of a handler and its record; only a crash of the browser itself can, and then the
// message comes a second time.
import type { Place, Push, Store } from "./types.js";

const SEEN = 2_000; // more than may wait for a handler: all of that may come again
const SEEN_STORED = 64;
const CURSORS = 1_000;
const RESUMED = 200; // the most that a node takes

export class Memory {
  /** The key that the node knows us by; a made-up one is asked for again. */
  key = "";
  readonly received = new Map<string, Place>();
  readonly done = new Map<string, Place>();
  readonly #seen = new Set<string>();

  constructor(
    readonly store: Store | null,
    readonly name: string,
    readonly complain: (error: unknown) => void,
  ) {
    try {
      const { key, done, seen } = JSON.parse(store?.getItem(name) || "{}");
      this.key = String(key ?? "");
      for (const [of, epoch, offset] of done ?? []) {
        // A node refuses a session with a cursor that is none.
        if (typeof epoch === "string" && Number.isSafeInteger(offset) && offset >= 0) put(this.done, String(of), { epoch, offset });
      }
      for (const id of seen ?? []) this.#seen.add(String(id));
    } catch (error) {
      complain(error);
    }
    this.rewind();
  }

  /** A push came. False: it came before, in this epoch. */
  take({ key, epoch, offset }: Push): boolean {
    if (epoch === undefined || offset === undefined) return true;
    const known = this.received.get(key);
    if (known?.epoch === epoch && offset <= known.offset) return false;
    put(this.received, key, { epoch, offset });
    return true;
  }

  /** The wire of *key* goes on after *place*, wherever it was. */
  reach(key: string, place: Place): void {
    put(this.received, key, place);
  }

  /** Whether the app has had this push, maybe for another key of the session. */
  has(pushId: string): boolean {
    return this.#seen.has(pushId);
  }

  /** The app is done with a durable push. */
  finish(pushId: string, key: string, place: Place): void {
    this.#seen.delete(pushId);
    this.#seen.add(pushId);
    for (const oldest of this.#seen) {
      if (this.#seen.size <= SEEN) break;
      this.#seen.delete(oldest);
    }
    this.begin(key, place);
  }

  /** The app goes on after *place*, wherever it was in *key*. */
  begin(key: string, place: Place): void {
    put(this.done, key, place);
    this.save();
  }

  /** *key* is no longer ours. */
  forget(key: string): void {
    this.done.delete(key);
    this.save();
  }

  /** Who we are has changed: nothing of the other's counts. */
  clear(): void {
    this.done.clear();
    this.#seen.clear();
  }

  /** What came and was not handled was dropped. */
  rewind(): void {
    this.received.clear();
    for (const [key, place] of this.done) this.received.set(key, place);
  }

  /** Cursors for a node, the ones used last; without rooms that the session is not in. */
  resume(rooms: ReadonlySet<string>): Record<string, Place> {
    const ours = [...this.done].filter(([key]) => !key.startsWith("room:") || rooms.has(key.slice(5)));
    return Object.fromEntries(ours.slice(-RESUMED));
  }

  save(): void {
    const done = [...this.done].map(([key, { epoch, offset }]) => [key, epoch, offset]);
    const seen = [...this.#seen].slice(-SEEN_STORED);
    try {
      this.store?.setItem(this.name, JSON.stringify({ key: this.key, done, seen }));
    } catch (error) {
      this.complain(error); // quota, say: what is in memory still holds for this page
    }
  }
}

/** Sets *key* as the newest; the oldest beyond the bound goes. */
function put(map: Map<string, Place>, key: string, { epoch, offset }: Place): void {
  map.delete(key);
  map.set(key, { epoch, offset });
  if (map.size > CURSORS) for (const oldest of map.keys()) return void map.delete(oldest);
}
