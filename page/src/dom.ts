// The few words this page needs to speak to its document. All text goes in as text, never as markup.

/** The element called *id*; its absence is a fault of the page, not a state of it. */
export function el<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

export const input = (id: string): HTMLInputElement => el<HTMLInputElement>(id);

export function make(tag: string, className = "", text = ""): HTMLElement {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** Shows *error* in the line under the control *id*, or gives that line back to its hint. */
export function showError(id: string, error: string | null): void {
  const note = el(`${id}-note`);
  note.dataset["hint"] ??= note.textContent ?? "";
  note.textContent = error ?? note.dataset["hint"];
  note.classList.toggle("error", error !== null);
  el(id).setAttribute("aria-invalid", String(error !== null));
}
