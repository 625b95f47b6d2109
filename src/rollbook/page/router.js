// Where the page is: the part of its address behind #, so that going back and forth works, and no
// job id gets into a server's log.
import { effect, signal } from "./html.js";

/** A part of an address as text; one that was mistyped stays as it is, and leads nowhere. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return {
    parts: path.split("/").filter(Boolean).map(decoded),
    query: new URLSearchParams(query),
  };
}

/** {parts, query} of the address. */
export const place = signal(read());

addEventListener("hashchange", () => {
  place.value = read();
});

/** The number of the page of a list, from 1. */
export const pageNumber = () =>
  Math.max(1, Number.parseInt(place.value.query.get("page") ?? "1", 10) || 1);

/** The address of a view, for links. Empty values are left out of the query. */
export function to(path, query = {}) {
  const given = Object.entries(query).filter(
    ([, value]) => value !== "" && value !== null && value !== undefined,
  );
  const text = new URLSearchParams(given).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

/** Go to a view. */
export function go(path, query) {
  location.hash = to(path, query);
}

/** Change the query of the place that the page is at, without a step to go back to. */
export function refine(changes) {
  const { parts, query } = read();
  // On the way elsewhere the address is that place's already; a step there must not be taken back.
  if (parts.join("/") !== place.peek().parts.join("/")) return;
  const merged = { ...Object.fromEntries(query), ...changes };
  history.replaceState(null, "", to(parts.map(encodeURIComponent).join("/"), merged));
  place.value = read();
}

/** Call with the view's name whenever another view is shown. */
export function onView(callback) {
  let last;
  return effect(() => {
    const now = place.value.parts.join("/");
    if (now !== last) callback(now, last === undefined);
    last = now;
  });
}
