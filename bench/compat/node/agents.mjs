// openai-agents for Node.js: loops over Responses and over chat.

import { Agent, MemorySession, OpenAIChatCompletionsModel, run, setDefaultOpenAIClient, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";
import { ASK, CUT, HEARD, LOST, SENSE, URL, holds, main, same, told } from "./cases.mjs";

const client = new OpenAI({ baseURL: URL, apiKey: "any", maxRetries: 0 });
setDefaultOpenAIClient(client);
setTracingDisabled(true);
const price = tool({
  name: "price", description: "the price of a market", parameters: z.object({ market: z.string() }),
  execute: async ({ market }) => `${market}: 42`,
});
const agent = (more = {}) => new Agent({ name: "desk", instructions: "be brief", model: SENSE, ...more });

async function streamed(one, asked) {
  const result = await run(one, asked, { stream: true });
  let text = "";
  for await (const part of result.toTextStream()) text += part;
  await result.completed;
  if (result.error) throw result.error;
  return { text, final: result.finalOutput };
}

await main({
  async run() {
    same((await run(agent(), "hello")).finalOutput, HEARD);
  },
  async run_streamed() {
    same(await streamed(agent(), "hello"), { text: HEARD, final: HEARD });
  },
  async tools() {
    holds((await run(agent({ tools: [price] }), ASK)).finalOutput.includes("ERCOT: 42"), "the loop");
  },
  async output_type() {
    const outputType = z.object({ name: z.string(), feeders: z.number().int() });
    same((await run(agent({ outputType }), "Describe 'Aurora' with 3 feeders")).finalOutput, { name: "Aurora", feeders: 3 });
  },
  async session() {
    const session = new MemorySession();
    await run(agent(), "My name is 'Ada'", { session });
    same((await run(agent(), "hello", { session })).finalOutput, HEARD);
    same((await session.getItems()).length, 4);
  },
  async previous_response() {
    const first = await run(agent(), "My name is 'Ada'");
    same((await run(agent(), "hello", { previousResponseId: first.lastResponseId })).finalOutput, HEARD);
  },
  async handoff() {
    const other = new Agent({ name: "trader", instructions: "trade", model: SENSE });
    same((await run(agent({ handoffs: [other] }), "hello")).lastAgent.name, "trader");
  },
  async chat_completions() {
    const model = new OpenAIChatCompletionsModel(client, SENSE);
    holds((await streamed(agent({ model, tools: [price] }), ASK)).final.includes("ERCOT: 42"), "the loop");
  },
  async cut_loop() {
    holds((await streamed(agent({ model: CUT, tools: [price] }), ASK)).final.includes("ERCOT: 42"), "the loop");
  },
  async cut_chat_loop() {
    const model = new OpenAIChatCompletionsModel(client, CUT);
    holds((await streamed(agent({ model, tools: [price] }), ASK)).final.includes("ERCOT: 42"), "the loop");
  },
  async lost_loop() {
    return told(() => streamed(agent({ model: LOST, tools: [price] }), ASK));
  },
});
