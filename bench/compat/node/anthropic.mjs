// Anthropic's SDK for Node.js.

import Anthropic from "@anthropic-ai/sdk";
import { ASK, CUT, HEARD, LOST, REAL, SENSE, URL, holds, main, same, told } from "./cases.mjs";

const client = new Anthropic({ baseURL: URL.replace(/\/v1$/, ""), apiKey: "any", maxRetries: 0 });
const hello = [{ role: "user", content: "hello" }];
const ask = [{ role: "user", content: ASK }];
const tool = {
  name: "price", description: "the price of a market",
  input_schema: { type: "object", properties: { market: { type: "string" } }, required: ["market"] },
};

await main({
  async message() {
    const answer = await client.messages.create({ model: REAL || SENSE, max_tokens: 20, messages: hello });
    holds(answer.content[0].text && answer.usage.output_tokens > 0, JSON.stringify(answer));
  },
  async stream() {
    same(await client.messages.stream({ model: SENSE, max_tokens: 50, messages: hello }).finalText(), HEARD);
  },
  async tools() {
    const first = await client.messages.create({ model: SENSE, max_tokens: 50, messages: ask, tools: [tool] });
    const call = first.content.find((block) => block.type === "tool_use");
    same(call.input, { market: "ERCOT" });
    const result = { type: "tool_result", tool_use_id: call.id, content: "42" };
    const messages = [...ask, { role: "assistant", content: first.content }, { role: "user", content: [result] }];
    const last = await client.messages.create({ model: SENSE, max_tokens: 50, messages, tools: [tool] });
    holds(last.content[0].text.includes("42"), last.content[0].text);
  },
  async count_tokens() {
    holds((await client.messages.countTokens({ model: REAL || SENSE, messages: hello })).input_tokens > 0, "none");
  },
  async missing_model() {
    return told(() => client.messages.create({ model: "nobody", max_tokens: 5, messages: hello }));
  },
  async cut_stream() {
    same(await client.messages.stream({ model: CUT, max_tokens: 50, messages: hello }).finalText(), HEARD);
  },
  async cut_tools() {
    const found = await client.messages.stream({ model: CUT, max_tokens: 50, messages: ask, tools: [tool] }).finalMessage();
    same(found.content.find((block) => block.type === "tool_use").input, { market: "ERCOT" });
  },
  async lost_stream() {
    return told(() => client.messages.stream({ model: LOST, max_tokens: 50, messages: hello }).finalText());
  },
});
