// Typed events. A listener that throws, or whose promise rejects, becomes an `error` event and stops nobody else.
import { CloudpushError, type Events } from "./types.js";

type Name = keyof Events;
export type Listener<N extends Name> = (value: Events[N]) => unknown;

export class Emitter {
  readonly #listeners = new Map<Name, Set<Listener<never>>>();

  /** Calls *listener* at each event; gives the function that ends this. */
  on<N extends Name>(name: N, listener: Listener<N>): () => void {
    const own: Listener<N> = (value) => listener(value); // the same function may be there twice
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all.add(own));
    return () => void all.delete(own);
  }

  has(name: Name): boolean {
    return !!this.#listeners.get(name)?.size;
  }

  /** Calls every listener now; gives the promises of those that are not done, which never reject. */
  emit<N extends Name>(name: N, value: Events[N]): Promise<void>[] {
    if (name === "error" && !this.has(name)) console.error(value);
    const open: Promise<void>[] = [];
    for (const listener of [...(this.#listeners.get(name) ?? [])] as Listener<N>[]) {
      const failed = (cause: unknown): void => {
        const error = new CloudpushError("handler", `a listener of ${name} failed: ${String(cause)}`, cause);
        if (name === "error") console.error(error); // not another `error`: that would not end
        else this.emit("error", error);
      };
      try {
        const result = listener(value) as PromiseLike<unknown> | undefined;
        if (typeof result?.then === "function") open.push(Promise.resolve(result).then(() => {}, failed));
      } catch (cause) {
        failed(cause);
      }
    }
    return open;
  }
}
