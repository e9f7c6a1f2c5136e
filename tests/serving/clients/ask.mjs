// Asks a server each line of a file (method, path, body, how it is sent) with Node's fetch.
import { readFileSync } from "node:fs";

const [address, file] = process.argv.slice(2);
for (const line of readFileSync(file, "utf8").trimEnd().split("\n")) {
  const [method, path, packed, how] = line.split("\t");
  const body = Buffer.from(packed, "base64");
  // A stream has no length, so it is sent in chunks.
  const sent = how === "chunks" ? { body: new Blob([body]).stream(), duplex: "half" } : { body };
  const response = await fetch(address + path, { method, ...(packed ? sent : {}) });
  const answer = Buffer.from(await response.arrayBuffer()).toString("base64");
  console.log([response.status, response.headers.get("content-type") ?? "", answer].join("\t"));
}
