// The Vercel AI SDK against the gateway whose base URL is given: one line of JSON for every case.
//
// `real` is the self-test model on llama.cpp, `scripted` a scripted engine for cases that ask for sense.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

const [baseURL, real, scripted] = process.argv.slice(2);
const door = createOpenAICompatible({ name: "tieline", baseURL, apiKey: "any", includeUsage: true, supportsStructuredOutputs: true });
const official = createOpenAI({ baseURL, apiKey: "any" });
const settings = { maxRetries: 0, temperature: 0 };
const count = "Count from 1 to 20.";
const feeder = z.object({ name: z.string(), feeders: z.number().int() });
const price = tool({
  description: "power price of a market",
  inputSchema: z.object({ market: z.string() }),
  execute: async ({ market }) => ({ market, usdPerMwh: 42 }),
});

const cases = {
  async generate() {
    const { text, usage, finishReason } = await generateText({ ...settings, model: door(real), prompt: count, maxOutputTokens: 12 });
    return { text, usage, finishReason };
  },
  async stream() {
    const result = streamText({ ...settings, model: door(real), prompt: count, maxOutputTokens: 40 });
    const parts = [];
    for await (const part of result.textStream) parts.push(part);
    const whole = await generateText({ ...settings, model: door(real), prompt: count, maxOutputTokens: 40 });
    return { parts: parts.length, same: parts.join("") === whole.text, usage: await result.usage, finishReason: await result.finishReason };
  },
  async object() {
    const { object } = await generateObject({ ...settings, model: door(real), schema: feeder, prompt: "Describe a site.", maxOutputTokens: 100 });
    return { keys: Object.keys(object).sort(), whole: Number.isInteger(object.feeders) };
  },
  async objectStream() {
    const result = streamObject({ ...settings, model: door(real), schema: feeder, prompt: "Describe a site.", maxOutputTokens: 100 });
    let partials = 0;
    for await (const _ of result.partialObjectStream) partials += 1;
    return { partials, keys: Object.keys(await result.object).sort() };
  },
  async tools() {
    const { steps, text } = await generateText({
      ...settings, model: door(scripted), tools: { price }, stopWhen: stepCountIs(3), prompt: "What is the price in 'ERCOT'?",
    });
    return { calls: steps.flatMap((step) => step.toolCalls.map((call) => [call.toolName, call.input])), steps: steps.length, text };
  },
  async toolStream() {
    const result = streamText({
      ...settings, model: door(scripted), tools: { price }, stopWhen: stepCountIs(3), prompt: "What is the price in 'ERCOT'?",
    });
    const kinds = new Set();
    for await (const part of result.fullStream) kinds.add(part.type);
    return { called: kinds.has("tool-call") && kinds.has("tool-result"), failed: kinds.has("error"), text: await result.text };
  },
  async responses() {
    const result = streamText({ ...settings, model: official.responses(scripted), prompt: "hello" });
    const parts = [];
    for await (const part of result.textStream) parts.push(part);
    return { parts: parts.length, text: parts.join(""), usage: await result.usage, finishReason: await result.finishReason };
  },
  async embed() {
    const { embeddings, usage } = await embedMany({ maxRetries: 0, model: door.textEmbeddingModel(scripted), values: ["a", "bc"] });
    return { embeddings, usage };
  },
  async missing() {
    try {
      await generateText({ ...settings, model: door("nobody"), prompt: count });
    } catch (error) {
      return { status: error.statusCode, message: error.message, retry: error.isRetryable };
    }
    return {};
  },
  async abort() {
    const abort = new AbortController();
    const result = streamText({
      ...settings, model: door(real), prompt: "Count from 1 to 500.", maxOutputTokens: 2000, abortSignal: abort.signal, onError() {},
    });
    let parts = 0;
    for await (const part of result.fullStream) {
      if (part.type === "text-delta" && ++parts === 3) abort.abort();
      if (part.type === "abort") return { aborted: true, parts };
    }
    return { aborted: false, parts };
  },
};

for (const [name, run] of Object.entries(cases)) {
  try {
    console.log(JSON.stringify({ name, ...(await run()) }));
  } catch (error) {
    console.log(JSON.stringify({ name, error: String(error), body: error.responseBody }));
  }
}
