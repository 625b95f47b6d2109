// Sending a file by parts: after a cut it goes on where it stopped (the protocol tus).
import "./vendor/tus.js";
import { address, bearer, checkSession, refusal, session, stopped } from "./api.js";
import { LANGUAGE } from "./languages.js";

/** Milliseconds before each further try; a try that sent something begins at the first again. */
const DELAYS = [500, 1_000, 2_000, 4_000, 8_000, ...Array(240).fill(15_000)];
/** Statuses after which the server is asked how much it has, and the rest is sent. */
const PASSING = new Set([0, 408, 409, 423, 429, 460, 500, 502, 503, 504]);
/**
 * Bytes of one request: a fortieth of the file within bounds. A browser sends a request whose line
 * was cut once more by itself, from its beginning, and that must cost little.
 */
const partOf = ({ size }) => Math.min(Math.max(Math.ceil(size / 40), 128 * 1024), 1024 * 1024);
/** Seconds over which the rate is averaged. */
const AVERAGED_S = 10;

/**
 * Send what is missing of a file, and give the id under which it can be checked and sent.
 *
 * - at: where its parts go, if it was begun before; onAddress gets that of a new one.
 * - onProgress: gets {share, sent, secondsLeft}; share is 0 to 1, and secondsLeft null at first.
 * - onCut: gets true when the line is cut, and false when it goes on.
 * - onRequest: gets what can be aborted.
 *
 * Raises Refusal.
 */
export function sendFile(file, { at = null, onAddress, onProgress, onCut, onRequest }) {
  const rate = rateOf(file.size);
  let waits = false;
  const cut = (is) => {
    waits = is;
    onCut(is);
  };
  const done = new AbortController();
  return new Promise((resolve, reject) => {
    const sending = new tus.Upload(file, {
      endpoint: address("bulk-upload/files").href,
      uploadUrl: at,
      chunkSize: partOf(file),
      metadata: { filename: file.name },
      retryDelays: DELAYS,
      // The page itself remembers where a file goes, together with the file.
      storeFingerprintForResuming: false,
      onBeforeRequest: setHeaders,
      onUploadUrlAvailable: () => onAddress(sending.url),
      onProgress: (sent) => {
        cut(false);
        onProgress({ share: sent / file.size, sent, secondsLeft: rate(sent) });
      },
      onShouldRetry: (error) => {
        const isPassing = PASSING.has(statusOf(error));
        cut(isPassing);
        return isPassing;
      },
      onSuccess: () => resolve(new URL(sending.url).pathname.split("/").pop()),
      onError: (error) => reject(refusalOf(error)),
    });
    const goOn = () => {
      if (!waits) return;
      sending.abort();
      sending.start();
    };
    addEventListener("online", goOn, { signal: done.signal });
    onRequest({
      abort: () => {
        sending.abort();
        reject(stopped());
      },
    });
    sending.start();
  }).finally(() => done.abort());
}

const setHeaders = (request) => {
  request.setHeader("Authorization", bearer().Authorization);
  request.setHeader("Accept-Language", LANGUAGE);
};

/** Have the server remove a file that isn't complete. Where that fails, it expires there by itself. */
export async function discardFile(at) {
  await tus.Upload.terminate(at, { onBeforeRequest: setHeaders, retryDelays: [] }).catch(() => null);
}

/** A function from the bytes that are sent to the seconds that the rest takes. */
function rateOf(total) {
  let marks = [];
  return (sent) => {
    const now = performance.now() / 1000;
    marks = [...marks.filter((mark) => now - mark.at < AVERAGED_S && mark.sent <= sent), { at: now, sent }];
    const [{ at, sent: before }] = marks;
    return now - at < 1 || sent === before ? null : ((total - sent) * (now - at)) / (sent - before);
  };
}

const statusOf = (error) => error.originalResponse?.getStatus() ?? 0;

function refusalOf(error) {
  let body = null;
  try {
    body = JSON.parse(error.originalResponse?.getBody());
  } catch {
    // The answer is not ours: a proxy's, or none.
  }
  checkSession(statusOf(error), session.peek()?.token);
  return refusal(statusOf(error), body);
}
