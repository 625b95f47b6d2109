// The tutorial's steps with a client that openapi-typescript has made.
// Usage: node tutorial.js URL EMAIL PASSWORD FILE
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import createClient from "openapi-fetch";
import type { paths } from "./rollbook.js";

const PATIENCE_MS = 60_000;
const [url, email, password, path] = process.argv.slice(2);

function got<T>(answer: { data?: T; error?: { message: string } }): T {
  if (answer.data === undefined) throw new Error(answer.error?.message ?? "no answer");
  return answer.data;
}

const bearing = (token: string) =>
  createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

const anyone = createClient<paths>({ baseUrl: url });
const { token } = got(await anyone.POST("/api/v1/auth/login", { body: { email, password } })).data;
const person = bearing(token);
const made = got(await person.POST("/api/v1/keys", { body: { name: "tutorial", scopes: ["upload", "read"] } })).data;
const client = bearing(made.key);

const content = new Blob([new Uint8Array(await readFile(path))]);
const sent = await client.POST("/api/v1/bulk-upload/process", {
  body: { file: "" },
  bodySerializer: () => {
    const form = new FormData();
    form.append("file", content, basename(path));
    return form;
  },
});
const job_id = got(sent).data.job_id;
const params = { path: { job_id } };
const end = Date.now() + PATIENCE_MS;
let upload = got(await client.GET("/api/v1/bulk-upload/status/{job_id}", { params })).data;
while (upload.status !== "completed") {
  if (Date.now() > end) throw new Error(`the upload is ${upload.status}`);
  await new Promise((resolve) => setTimeout(resolve, 100));
  upload = got(await client.GET("/api/v1/bulk-upload/status/{job_id}", { params })).data;
}
const refused = got(
  await client.GET("/api/v1/bulk-upload/rows/{job_id}", {
    params: { ...params, query: { attention: "refused" } },
  }),
).data;
async function beginning(address: "report" | "failed-rows"): Promise<string> {
  const answer = await client.GET(`/api/v1/bulk-upload/${address}/{job_id}`, { params, parseAs: "arrayBuffer" });
  return Buffer.from(got(answer) as ArrayBuffer).subarray(0, 2).toString();
}
const report = await beginning("report");
const refused_rows = await beginning("failed-rows");
await person.DELETE("/api/v1/keys/{key_id}", { params: { path: { key_id: made.key_id } } });
const after = await client.GET("/api/v1/bulk-upload/status/{job_id}", { params });
console.log(
  JSON.stringify({
    rows: upload.rows_total,
    outcomes: upload.outcomes,
    created: new Date(upload.created_at).toISOString(),
    refused: refused.total,
    report,
    refused_rows,
    after: after.response.status,
  }),
);
