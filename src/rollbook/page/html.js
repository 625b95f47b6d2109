// The few third-party names that the views use, from one place.
import { h, render } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export { render };
export { useEffect, useId, useRef } from "./vendor/preact-hooks.js";
export { computed, effect, signal, untracked } from "./vendor/signals-core.js";
export { useComputed, useSignal } from "./vendor/signals.js";

/** Markup in a template: html`<p class="a">${text}</p>`. What is put in is text, never markup. */
export const html = htm.bind(h);
