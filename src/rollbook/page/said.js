// What the page says aloud to those who don't see it, and what it shows for a moment to those who do.
import { signal } from "./html.js";

/** Milliseconds between two sentences, so that a reader program gets each of them. */
const PAUSE_MS = 700;
const SHOWN_MS = 8000;

const waiting = [];
let speaking = false;

/** Have a screen reader say this, after what it is saying. */
export function say(sentence) {
  if (waiting.at(-1) !== sentence) waiting.push(sentence);
  if (!speaking) speak();
}

function speak() {
  const sentence = waiting.shift();
  speaking = sentence !== undefined;
  if (!speaking) return;
  document.getElementById("said").textContent = sentence;
  setTimeout(speak, PAUSE_MS);
}

/** {text, kind} of the note that is shown, or null. */
export const note = signal(null);
let timer;

/** Show a note, and say it; a failure stays until it is closed. */
export function show(text, kind = "good") {
  clearTimeout(timer);
  note.value = { text, kind };
  say(text);
  if (kind === "good") timer = setTimeout(dismiss, SHOWN_MS);
}

export function dismiss() {
  note.value = null;
}

/** Do something; show what the API says of it, good or bad. Gives whether it worked. */
export async function attempt(action) {
  try {
    const done = await action();
    if (done?.message) show(done.message);
    return true;
  } catch (error) {
    show(error.message, "bad");
    return false;
  }
}
