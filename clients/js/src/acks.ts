// Acks that wait for each other: sent together after a while, or at once when many messages are waiting.
import type { Place } from "./types.js";

const AT_ONCE = 64;

export class Acks {
  #waiting = new Map<string, Place>();
  #messages = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** *send* takes what is to be acked, and tells whether that needs no further try; it never rejects. */
  constructor(
    readonly ms: number,
    readonly send: (places: ReadonlyMap<string, Place>) => Promise<boolean>,
  ) {}

  /** Everything of *key* up to *place* is done. */
  add(key: string, place: Place): void {
    this.#waiting.set(key, place);
    this.#messages += 1;
    if (this.#messages >= AT_ONCE) void this.flush();
    else this.#timer ??= setTimeout(() => void this.flush(), this.ms);
  }

  /** Sends what waits. What gets lost waits for the next time, unless a later place has made it needless. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#messages = 0;
    const batch = this.#waiting;
    if (!batch.size) return;
    this.#waiting = new Map();
    if (await this.send(batch)) return;
    for (const [key, place] of batch) if (!this.#waiting.has(key)) this.#waiting.set(key, place);
  }
}
