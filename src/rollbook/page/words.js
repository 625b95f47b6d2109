// Words, numbers and times as people read them, in the page's language. All text is in its catalogue.
import { LANGUAGE } from "./languages.js";

const { LOCALE, NUMBERS, TEXT } = await import(`./texts/${LANGUAGE}.js`);
const plural = new Intl.PluralRules(LOCALE);
const whole = new Intl.NumberFormat(NUMBERS, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(NUMBERS, { maximumFractionDigits: 1 });
const percents = new Intl.NumberFormat(NUMBERS, { style: "percent", maximumFractionDigits: 1 });
/** The formats of moments, in the time zone that the server names; mails use the same one. */
let inZone;
let zone;
export function setZone(name) {
  if (name === zone) return;
  zone = name;
  const at = { timeZone: name, hour12: false, hour: "2-digit", minute: "2-digit" };
  const day = { day: "numeric", month: "short", year: "numeric" };
  const format = (options) => new Intl.DateTimeFormat(LOCALE, { ...at, ...options });
  // Browsers know the short name of a zone, such as SAST, in some languages only.
  const named = new Intl.DateTimeFormat("en-ZA", { timeZone: name, timeZoneName: "short" });
  const nameAt = (date) => named.formatToParts(date).find(({ type }) => type === "timeZoneName").value;
  const withZone = (options) => {
    const plain = format(options);
    return { format: (date) => `${plain.format(date)} ${nameAt(date)}` };
  };
  inZone = {
    time: format({ second: "2-digit" }),
    shortTime: withZone({}),
    dayAndTime: withZone(day),
    dayAndSeconds: withZone({ ...day, second: "2-digit" }),
    day: format({ ...day, hour: undefined, minute: undefined }),
  };
}
setZone("Africa/Johannesburg");
const shortDay = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", timeZone: "UTC" });

/**
 * A text of the catalogue, with values put where it says {name}.
 * Where it is an object of plural forms, the value `n` decides.
 */
export function t(key, values = {}) {
  let text = TEXT[key];
  if (text === undefined) throw new Error(`The catalogue has no text ${key}.`);
  if (typeof text === "object") text = text[plural.select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? whole.format(value) : String(value);
  });
}

/** How many items a list has, in its own words; "about" so many where the total is an estimate. */
export const counted = (list, { total: n, total_is_exact: isExact = true }) =>
  isExact ? t(`${list}.count`, { n }) : t(`${list}.about`, { n });

/** The acts of the audit trail as the API names them, in the order of the catalogue. */
export const ACTS = Object.keys(TEXT).filter((key) => key.startsWith("act.")).map((key) => key.slice("act.".length));

/** An office as people name it: its municipality and province, or all of the country. */
export const officeName = ({ municipality, province }) =>
  [municipality, province].filter(Boolean).join(", ") || t("who.everywhere");

export const number = (value) => whole.format(value);

export const percent = (share) => percents.format(share);

/** A cell of a file: where a spreadsheet has a date, its moment is midnight, and nobody wrote that. */
export const cellInWords = (text) => text.replace(/^(\d{4}-\d\d-\d\d) 00:00:00$/, "$1");

/** Bytes as people say them. */
export function size(bytes) {
  if (bytes < 1000) return t("unit.bytes", { n: bytes });
  const [unit, factor] = bytes < 1e6 ? ["unit.kb", 1e3] : ["unit.mb", 1e6];
  return t(unit, { size: tenth.format(bytes / factor) });
}

/** Seconds as people say them: one or two units. */
export function duration(seconds) {
  if (seconds < 0.095) return t("unit.milliseconds", { n: Math.round(seconds * 1000) });
  if (seconds < 9.95) return t("unit.seconds", { seconds: tenth.format(seconds) });
  if (seconds < 59.5) return t("unit.seconds", { seconds: whole.format(seconds) });
  const minutes = Math.round(seconds / 60);
  if (seconds < 600) {
    const all = Math.round(seconds);
    return t("unit.minutes_seconds", { minutes: Math.floor(all / 60), seconds: all % 60 });
  }
  if (minutes < 90) return t("unit.minutes", { minutes });
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return t("unit.hours_minutes", { hours, minutes: minutes % 60 });
  return t("unit.days", { n: Math.round(hours / 24) });
}

const asDate = (moment) => (moment instanceof Date ? moment : new Date(moment));

/** A moment as day and time; only the time where it is today. */
export function when(moment) {
  const date = asDate(moment);
  const isToday = inZone.day.format(date) === inZone.day.format(Date.now() + ahead);
  return isToday ? t("when.today", { time: inZone.shortTime.format(date) }) : inZone.dayAndTime.format(date);
}

/** A moment as day and time to the second, for what is to be looked up later. */
export const momentInFull = (moment) => inZone.dayAndSeconds.format(asDate(moment));

/** A moment's time of day, with seconds. */
export const time = (moment) => inZone.time.format(asDate(moment));

/** A date such as 2026-11-24 without its year. */
export const day = (date) => shortDay.format(new Date(`${date}T00:00:00Z`));

let ahead = 0;

/** The server's clock says this now; a computer's own may be wrong by hours. */
export function setClock(moment) {
  ahead = asDate(moment) - Date.now();
}

/** Seconds from one moment of the server to another, or to now. */
export const secondsBetween = (from, to) =>
  Math.max(0, (asDate(to ?? Date.now() + ahead) - asDate(from)) / 1000);

/** Seconds from now, by the server's clock, to a moment. */
export const secondsUntil = (moment) => Math.max(0, (asDate(moment) - Date.now() - ahead) / 1000);
