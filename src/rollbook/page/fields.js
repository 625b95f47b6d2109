// The fields of a member by name: the built-in ones, and the organisation's own.
import { get } from "./api.js";
import { signal } from "./html.js";
import { t } from "./words.js";

/** The built-in fields, by the names that the API knows. */
const BUILT_IN = [
  "id_number",
  "passport_number",
  "passport_country",
  "firstname",
  "surname",
  "full_name",
  "cell_number",
  "landline_number",
  "email",
  "residential_address",
  "age",
  "gender",
  "race",
  "citizenship",
  "language",
  "occupation",
  "qualification",
  "province",
  "region",
  "municipality",
  "ward",
  "voting_station",
  "voting_district",
  "date_joined",
  "last_payment",
  "expiry_date",
  "subscription",
  "membership_amount",
  "status",
];
/** In front of an own field's name. */
const OWN = "own.";

/** The own fields, as the API describes them. */
const own = signal([]);

/** Ask for the own fields; without them their columns have their names only. */
export async function loadOwnFields() {
  try {
    own.value = (await get("members/fields")).items;
  } catch {
    own.value = [];
  }
}

/** Every field that a column may mean. */
export const fieldNames = () => [...BUILT_IN, ...own.value.map(({ field }) => field)];

/** A field's name as people read it. */
export function fieldName(name) {
  if (!name.startsWith(OWN)) return t(`field.${name}`);
  return own.value.find(({ field }) => field === name)?.title ?? name.slice(OWN.length);
}
