// openai-node: chat, streams, tools, text, responses, embeddings.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [, , base] = process.argv;
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
const model = "scripted";
const messages = [{ role: "user", content: "Hello" }];
const SAID = "Hello there, it is a sunny day.";

const chat = await client.chat.completions.create({ model, messages });
assert.equal(chat.choices[0].message.content, SAID);
const stream = client.chat.completions.stream({ model, messages });
assert.equal((await stream.finalChatCompletion()).choices[0].message.content, SAID);

const parameters = { type: "object", properties: { a: { type: "integer" } } };
const tools = [{ type: "function", function: { name: "add", parameters } }];
const called = await client.chat.completions.create({ model, messages, tools });
assert.deepEqual(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments), { a: 3 });

const text = await client.completions.create({ model, prompt: "Hello" });
assert.equal(text.choices[0].text, SAID);

const answer = await client.responses.create({ model, input: "Hello" });
assert.equal(answer.output_text, SAID);
const events = client.responses.stream({ model, input: "Hello" });
assert.equal((await events.finalResponse()).output_text, SAID);
const flat = [{ type: "function", name: "add", parameters }];
const functions = await client.responses.create({ model, input: "Hello", tools: flat });
assert.equal(functions.output.at(-1).type, "function_call");

const vectors = await client.embeddings.create({ model: "embedder", input: ["a", "bb"] });
assert.equal(vectors.data.length, 2);
const names = [];
for await (const one of client.models.list()) names.push(one.id);
assert.ok(names.includes(model));
await assert.rejects(client.chat.completions.create({ model: "other", messages }), OpenAI.NotFoundError);
console.log((await import("openai/version.mjs")).VERSION);
