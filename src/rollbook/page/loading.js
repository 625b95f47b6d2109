// Data for a view: asked for when it is shown, and again whenever something says that it may differ.
import { useEffect, useRef, useSignal } from "./html.js";

/**
 * Load for as long as the view is shown.
 *
 * `load` is called at first, when one of `inputs` changes, and when one of the signals `on` does;
 * an answer to older inputs is dropped. The old data stays while it is loaded again.
 * Gives {data, error, isLoading, reload}.
 */
export function useLoaded(load, inputs = [], on = []) {
  const state = useSignal({ data: null, error: null, isLoading: true, inputs: null });
  const newest = useRef(0);
  const again = useRef(null);
  again.current = async () => {
    const number = ++newest.current;
    state.value = { ...state.peek(), isLoading: true };
    const done = await load().then(
      (data) => ({ data, error: null }),
      (error) => ({ data: null, error }),
    );
    if (number !== newest.current) return;
    // A lost connection is no reason to take away what can be read.
    const isKept = done.error?.isPassing && state.peek().data !== null;
    state.value = { ...(isKept ? state.peek() : done), isLoading: false };
  };
  useEffect(() => {
    state.value = { ...state.peek(), error: null };
    again.current();
  }, inputs);
  useEffect(() => {
    const ends = on.map((signal) => {
      let isFirst = true;
      return signal.subscribe(() => {
        if (!isFirst) again.current();
        isFirst = false;
      });
    });
    return () => {
      newest.current = -1;
      ends.forEach((end) => end());
    };
  }, []);
  return { ...state.value, reload: () => again.current() };
}

/** A value that follows another one only when that has rested for a while, such as what is typed. */
export function useRested(value, milliseconds = 300) {
  const rested = useSignal(value);
  useEffect(() => {
    const timer = setTimeout(() => {
      rested.value = value;
    }, milliseconds);
    return () => clearTimeout(timer);
  }, [value]);
  return rested.value;
}
