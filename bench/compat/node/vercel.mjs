// The Vercel AI SDK with OpenAI's providers (Responses and chat) and Anthropic's.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { ASK, CUT, HEARD, LOST, REAL, REAL_CUT, SENSE, URL, holds, main, same, told } from "./cases.mjs";

const openai = createOpenAI({ baseURL: URL, apiKey: "any" });
const anthropic = createAnthropic({ baseURL: URL, apiKey: "any" });
const price = tool({
  description: "the price of a market", inputSchema: z.object({ market: z.string() }), execute: async ({ market }) => `${market}: 42`,
});
const settings = { maxRetries: 0, onError() {} };

async function loop(model) {
  const result = streamText({ ...settings, model, tools: { price }, stopWhen: stepCountIs(3), prompt: ASK });
  for await (const part of result.fullStream) if (part.type === "error") throw part.error;
  return result.text;
}

async function text(model) {
  let found = "";
  for await (const part of streamText({ ...settings, model, prompt: "hello" }).fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") found += part.text;
  }
  return found;
}

const forms = { chat: (name) => openai.chat(name), responses: (name) => openai.responses(name), messages: (name) => anthropic(name) };
const cases = {};
for (const [form, model] of Object.entries(forms)) {
  cases[`${form}_text`] = async () => same((await generateText({ ...settings, model: model(SENSE), prompt: "hello" })).text, HEARD);
  cases[`${form}_stream`] = async () => same(await text(model(SENSE)), HEARD);
  cases[`${form}_loop`] = async () => holds((await loop(model(SENSE))).includes("ERCOT: 42"), "the loop");
  cases[`${form}_cut`] = async () => same(await text(model(CUT)), HEARD);
  cases[`${form}_cut_loop`] = async () => holds((await loop(model(CUT))).includes("ERCOT: 42"), "the loop");
  cases[`${form}_lost`] = async () => told(() => text(model(LOST)));
  cases[`${form}_lost_loop`] = async () => told(() => loop(model(LOST)));
}
for (const form of ["chat", "responses"]) {
  cases[`${form}_object`] = async () => {
    const output = Output.object({ schema: z.object({ name: z.string(), feeders: z.number().int() }) });
    const found = await generateText({ ...settings, model: forms[form](SENSE), output, prompt: "Describe 'Aurora' with 3 feeders" });
    same(found.output, { name: "Aurora", feeders: 3 });
  };
}

// With a small model on a real engine: each answer of the loop is cut once, and it ends as the undisturbed one.
async function smallLoop(model) {
  const first = { ...settings, model, tools: { price }, temperature: 0, maxOutputTokens: 100 };
  const result = streamText({
    ...first, stopWhen: stepCountIs(2), prompt: ASK, prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber ? "none" : "required" }),
  });
  for await (const part of result.fullStream) if (part.type === "error") throw part.error;
  const steps = await result.steps;
  const text = await result.text;
  holds(steps[0].toolCalls.length === 1 && text, "a call, and then a text");
  return [steps[0].toolCalls[0].input, text];
}

if (REAL) {
  for (const [form, model] of Object.entries(forms)) {
    cases[`${form}_real_loop`] = async () => void (await smallLoop(model(REAL)));
    cases[`${form}_real_cut_loop`] = async () => same(await smallLoop(model(REAL_CUT)), await smallLoop(model(REAL)));
  }
}
await main(cases);
