// Forms: what was filled in goes to the server, and what it refuses is said in the form.
import { useRef, useSignal } from "./html.js";

/**
 * A form's way: `act` gets the form when it is sent; what it throws is shown in the form.
 * Gives {form, submit, failure, isBusy}.
 */
export function useForm(act) {
  const failure = useSignal(null);
  const isBusy = useSignal(false);
  const form = useRef(null);
  const submit = async (event) => {
    event.preventDefault();
    failure.value = null;
    isBusy.value = true;
    try {
      await act(form.current);
    } catch (error) {
      failure.value = error.message;
    } finally {
      isBusy.value = false;
    }
  };
  return { form, submit, failure: failure.value, isBusy: isBusy.value };
}

/** What a form holds, without what was left empty. */
export const given = (form) =>
  Object.fromEntries(
    [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value),
  );
