// openai-node: chat, Responses, conversations.

import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { ASK, CUT, HEARD, LOST, REAL, SENSE, URL, holds, main, same, told } from "./cases.mjs";

const client = new OpenAI({ baseURL: URL, apiKey: "any", maxRetries: 0 });
const hello = [{ role: "user", content: "hello" }];
const site = z.object({ name: z.string(), feeders: z.number().int() });
const parameters = {
  type: "object", properties: { market: { type: "string" } }, required: ["market"], additionalProperties: false,
};
const tool = { type: "function", function: { name: "price", description: "the price", parameters } };
const responseTool = { type: "function", name: "price", description: "the price", parameters, strict: true };

async function textOf(stream) {
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  return text;
}

await main({
  async chat() {
    const answer = await client.chat.completions.create({ model: REAL || SENSE, messages: hello, max_tokens: 20, temperature: 0 });
    holds(answer.choices[0].message.content && answer.usage.completion_tokens > 0, JSON.stringify(answer));
  },
  async chat_stream() {
    const given = { model: REAL || SENSE, messages: hello, max_tokens: 30, temperature: 0 };
    const whole = await client.chat.completions.create(given);
    same(await textOf(await client.chat.completions.create({ ...given, stream: true })), whole.choices[0].message.content);
  },
  async chat_tools() {
    const runner = client.chat.completions.runTools({
      model: SENSE,
      messages: [{ role: "user", content: ASK }],
      tools: [{ type: "function", function: { ...tool.function, parse: JSON.parse, function: ({ market }) => `${market}: 42` } }],
    });
    holds((await runner.finalContent()).includes("ERCOT: 42"), "the loop");
  },
  async chat_parse() {
    const found = await client.chat.completions.parse({
      model: SENSE, messages: [{ role: "user", content: "Describe 'Aurora' with 3 feeders" }], response_format: zodResponseFormat(site, "site"),
    });
    same(found.choices[0].message.parsed, { name: "Aurora", feeders: 3 });
  },
  async responses() {
    const answer = await client.responses.create({ model: SENSE, input: "hello" });
    same([answer.output_text, answer.status], [HEARD, "completed"]);
  },
  async responses_stream() {
    const found = await client.responses.stream({ model: SENSE, input: "hello" }).finalResponse();
    same(found.output[0].content[0].text, HEARD);
  },
  async responses_tools() {
    const first = await client.responses.create({ model: SENSE, input: ASK, tools: [responseTool] });
    const call = first.output.find((item) => item.type === "function_call");
    same(call.arguments, '{"market": "ERCOT"}');
    const last = await client.responses.create({
      model: SENSE, previous_response_id: first.id, tools: [responseTool],
      input: [{ type: "function_call_output", call_id: call.call_id, output: "42" }],
    });
    holds(last.output_text.includes("42"), last.output_text);
  },
  async responses_parse() {
    const found = await client.responses.parse({
      model: SENSE, input: "Describe 'Aurora' with 3 feeders", text: { format: zodTextFormat(site, "site") },
    });
    same(found.output_parsed, { name: "Aurora", feeders: 3 });
  },
  async conversations() {
    const one = await client.conversations.create({ items: [{ type: "message", role: "user", content: "My name is 'Ada'" }] });
    const answer = await client.responses.create({ model: SENSE, input: "hello", conversation: one.id });
    same(answer.output_text, HEARD);
    await client.conversations.delete(one.id);
  },
  async missing_model() {
    return told(() => client.chat.completions.create({ model: "nobody", messages: hello }));
  },
  async cut_stream() {
    same(await textOf(await client.chat.completions.create({ model: CUT, messages: hello, stream: true })), HEARD);
  },
  async cut_responses() {
    const found = await client.responses.stream({ model: CUT, input: "hello" }).finalResponse();
    same(found.output[0].content[0].text, HEARD);
  },
  async lost_stream() {
    return told(async () => textOf(await client.chat.completions.create({ model: LOST, messages: hello, stream: true })));
  },
  async lost_responses() {
    let last;
    for await (const event of await client.responses.create({ model: LOST, input: "hello", stream: true })) last = event;
    same(last.type, "response.failed");
    return last.response.error.message;
  },
});
