// Matches the POST of a push with its arrival in this page, whichever the page learns of first.
// Pure: times are arguments, in milliseconds of one monotonic clock. Refuses to guess: a push sent elsewhere has none.

/** Pushes remembered in each direction; the oldest is forgotten first. */
export const REMEMBERED = 2_000;
/** Latencies that the percentiles look back on. */
export const WINDOW = 1_000;

export class LatencyBook {
  readonly #sentAt = new Map<string, number>();
  readonly #early = new Map<string, number[]>();
  readonly #samples: number[] = [];

  /** The API answered 202 for *pushId*, whose POST began at *at*. Gives the latencies of copies that were here first. */
  sent(pushId: string, at: number): number[] {
    remember(this.#sentAt, pushId, at);
    const latencies = (this.#early.get(pushId) ?? []).map((arrival) => arrival - at);
    this.#early.delete(pushId);
    for (const latency of latencies) this.#record(latency);
    return latencies;
  }

  /** A message of *pushId* arrived at *at*. Gives its latency, or null while no POST of this page is known for it. */
  arrived(pushId: string, at: number): number | null {
    const start = this.#sentAt.get(pushId);
    if (start === undefined) {
      remember(this.#early, pushId, [...(this.#early.get(pushId) ?? []), at].slice(-WINDOW));
      return null;
    }
    this.#record(at - start);
    return at - start;
  }

  get count(): number {
    return this.#samples.length;
  }

  /** The *percent*th percentile (nearest rank) of the latest WINDOW latencies, or null before the first. */
  percentile(percent: number): number | null {
    const sorted = [...this.#samples].sort((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? null;
  }

  /** Forgets the latencies, but not which pushes are under way. */
  clear(): void {
    this.#samples.length = 0;
  }

  #record(latency: number): void {
    this.#samples.push(latency);
    if (this.#samples.length > WINDOW) this.#samples.shift();
  }
}

function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= REMEMBERED) return;
    map.delete(oldest);
  }
}

/** For people: "3.4 ms", "120 ms", and a dash where there is none. */
export function formatMs(latency: number | null): string {
  if (latency === null) return "—";
  return `${latency < 10 ? latency.toFixed(1) : Math.round(latency)} ms`;
}
