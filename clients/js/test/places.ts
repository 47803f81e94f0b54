// Short ways to write down places and pushes.
import type { Place, Push } from "../src/index.js";

export const at = (offset: number, epoch = "e"): Place => ({ epoch, offset });
export const push = (offset: number, more: Partial<Push> = {}): Push => ({ op: 9, msg: offset, key: "k", push_id: `p${offset}`, offset, epoch: "e", ...more });
