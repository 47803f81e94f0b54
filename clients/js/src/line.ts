// One thing after the other: the next one begins when the one before it is done, in the same task if that is possible.

export class Line<T> {
  #waiting: T[] = [];
  #busy = false;

  /** *step* never throws, *mayStart* holds everything back while it says no, *idle* is told when nothing is left. */
  constructor(
    readonly step: (item: T) => Promise<void> | void,
    readonly mayStart: (item: T) => boolean,
    readonly idle: () => void,
  ) {}

  get length(): number {
    return this.#waiting.length;
  }

  add(item: T): void {
    this.#waiting.push(item);
    this.run();
  }

  /** Drops what has not begun. */
  clear(): void {
    this.#waiting = [];
  }

  run(): void {
    while (!this.#busy && this.#waiting.length && this.mayStart(this.#waiting[0]!)) {
      this.#busy = true;
      const more = this.step(this.#waiting.shift()!);
      if (more) {
        void more.then(() => {
          this.#busy = false;
          this.run();
        });
        return;
      }
      this.#busy = false;
    }
    if (!this.#busy && !this.#waiting.length) this.idle();
  }
}
