// The queue as a Node program of an organisation would use it: one JSON command a line comes in, one
// JSON answer goes out.
import { createInterface } from "node:readline";
import { Job, Queue, QueueEvents, Worker } from "bullmq";

const [url, name] = process.argv.slice(2);
const { hostname, port, password, pathname, searchParams, protocol } = new URL(url);
const connection = protocol.startsWith("unix")
  ? { path: pathname }
  : { host: hostname, port: Number(port), password, db: Number(pathname.slice(1) || 0) };
const queue = new Queue(name, { connection });
const events = new QueueEvents(name, { connection });
await events.waitUntilReady();

const commands = {
  add: async ({ uploadId, priority }) =>
    (await queue.add("bulk-upload", { upload_id: uploadId }, { jobId: uploadId, priority })).id,
  finished: async ({ jobId }) => (await Job.fromId(queue, jobId)).waitUntilFinished(events),
  job: async ({ jobId }) => {
    const job = await Job.fromId(queue, jobId);
    return {
      state: await job.getState(),
      data: job.data,
      progress: job.progress,
      returned: job.returnvalue,
      attempts: job.attemptsMade,
      priority: job.opts.priority,
    };
  },
  counts: async () => queue.getJobCounts("active", "completed", "failed", "prioritized", "waiting"),
  pause: async () => queue.pause(),
  resume: async () => queue.resume(),
  // A worker in Node that takes one job of the Python side.
  work: async () =>
    new Promise((resolve, reject) => {
      const worker = new Worker(name, async (job) => ({ seen: job.data }), { connection });
      worker.once("completed", (job) => worker.close().then(() => resolve(job.id)));
      worker.once("error", reject);
    }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ answer: (await commands[command](options)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await events.close();
await queue.close();
