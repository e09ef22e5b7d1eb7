// A chat box that goes through the platform's own door, as any tenant's request does.

import type { Overview } from "./data";
import { h, put, say } from "./dom";
import { num } from "./format";

interface Turn { role: "user" | "assistant"; content: string }
interface Event { choices?: { delta?: { content?: string }; finish_reason?: string | null }[]; usage?: { completion_tokens?: number } | null; error?: { message?: string }; model?: string; id?: string }

export class ChatBox {
  readonly el: HTMLElement;
  private readonly log = h("div", { class: "chat-log", role: "log", "aria-live": "polite", tabindex: "0" });
  private readonly input = h("textarea", { rows: "2", placeholder: "Ask the fleet something", "aria-label": "Message", maxlength: "4000" });
  private readonly send = h("button", { type: "submit", class: "button" }, "Send");
  private readonly label = h("p", { class: "chat-label" });
  private turns: Turn[] = [];
  private stop: AbortController | null = null;
  private overview: Overview | null = null;

  constructor() {
    const form = h("form", { class: "chat-form" }, this.input, this.send);
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      if (this.stop) this.stop.abort();
      else void this.ask();
    });
    this.input.addEventListener("keydown", (e) => {
      if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
        e.preventDefault();
        if (!this.stop) void this.ask();
      }
    });
    this.el = h("div", { class: "chat" }, this.label, this.log, form);
    put(this.log, h("p", { class: "wait" }, "Each answer says which site served it, and how fast."));
  }

  update(o: Overview): void {
    this.overview = o;
    const ready = o.replicas.filter((r) => r.state === "ready");
    const labels = [...new Set(ready.map((r) => r.label || r.model))];
    const selfTest = ready.some((r) => /self-?test/i.test(`${r.label} ${r.model}`));
    say(this.label, ready.length ? `${selfTest ? "Self-test model: proves the path, not a product" : labels.join(", ")} · ${ready.length} ${ready.length === 1 ? "replica" : "replicas"} ready` : "No replica is ready; the gateway will say so.");
  }

  private async ask(): Promise<void> {
    const text = this.input.value.trim();
    if (!text) return;
    if (!this.turns.length) put(this.log);
    this.turns.push({ role: "user", content: text });
    this.turns = this.turns.slice(-20);
    this.input.value = "";
    this.log.append(h("div", { class: "turn user" }, text));
    const answer = h("div", { class: "turn assistant" }), said = h("span", {}), meta = h("p", { class: "meta" }, "waiting for the first token…");
    answer.append(said, meta);
    this.log.append(answer);
    this.log.scrollTop = this.log.scrollHeight;
    this.stop = new AbortController();
    say(this.send, "Stop");
    const began = performance.now();
    let first: number | null = null, content = "", chunks = 0, used: number | null = null, site = "", finish = "", id = "";
    try {
      const reply = await fetch("/api/chat", {
        method: "POST", signal: this.stop.signal,
        headers: { "content-type": "application/json", "x-tieline": "console" },
        body: JSON.stringify({ messages: this.turns }),
      });
      if (!reply.ok || !reply.body) {
        const problem = await reply.json().catch(() => ({}));
        throw new Error(typeof problem.error === "string" ? problem.error : (problem.error?.message ?? `the gateway answered ${reply.status}`));
      }
      site = reply.headers.get("x-tieline-site") ?? "";
      id = reply.headers.get("x-request-id") ?? "";
      for await (const event of events(reply.body)) {
        if (event.error) throw new Error(event.error.message ?? "the answer broke off");
        id ||= event.id ?? "";
        const choice = event.choices?.[0];
        if (choice?.delta?.content) {
          first ??= performance.now();
          content += choice.delta.content;
          chunks += 1;
          said.textContent = content;
          const near = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 80;
          if (near) this.log.scrollTop = this.log.scrollHeight;
        }
        if (choice?.finish_reason) finish = choice.finish_reason;
        if (event.usage?.completion_tokens !== undefined) used = event.usage.completion_tokens;
      }
      this.turns.push({ role: "assistant", content });
      this.meta(meta, began, first, used ?? chunks, used === null, site, finish);
      if (!site) void this.findSite(meta, id);
    } catch (error) {
      const stopped = (error as Error).name === "AbortError";
      if (content) this.turns.push({ role: "assistant", content });
      else this.turns.pop();
      put(meta, h("span", { class: stopped ? "" : "bad" }, stopped ? "stopped here" : (error as Error).message));
    } finally {
      this.stop = null;
      say(this.send, "Send");
      this.log.scrollTop = this.log.scrollHeight;
    }
  }

  private meta(el: HTMLElement, began: number, first: number | null, tokens: number, counted: boolean, site: string, finish: string): void {
    const seconds = first === null ? 0 : (performance.now() - first) / 1000;
    const bits = [`${num(tokens, 0)} tokens${counted ? " (counted here)" : ""}`];
    if (seconds > 0 && tokens > 1) bits.push(`${num((tokens - 1) / seconds, tokens / seconds > 100 ? 0 : 1)} tok/s`);
    if (first !== null) bits.push(`first after ${num(first - began, 0)} ms`);
    if (site) bits.push(`answered by ${this.siteName(site)}`);
    if (finish === "length") bits.push("cut at its length limit");
    put(el, bits.join(" · "));
  }

  /** The usage record says which site served it, a moment later. */
  private async findSite(el: HTMLElement, id: string): Promise<void> {
    for (let attempt = 0; attempt < 5; attempt++) {
      await new Promise((done) => setTimeout(done, 700));
      const answer = await fetch("/api/records?stream=Usage&limit=20").then((a) => a.json()).catch(() => ({ records: [] }));
      const found = (answer.records as { seq: number; record: { request_id?: string; hops?: { site_id: string }[] } }[]).find((r) => id && (r.record.request_id === id || id.endsWith(r.record.request_id ?? "-")));
      const hops = found?.record.hops ?? [];
      if (found && hops.length) {
        el.append(` · answered by ${hops.map((hop) => this.siteName(hop.site_id)).join(", then ")} · `, h("a", { href: `/records/${found.seq}`, "data-nav": true }, `#${found.seq}`));
        return;
      }
    }
  }

  private siteName(id: string): string {
    return this.overview?.sites.find((s) => s.id === id)?.name ?? id;
  }
}

async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<Event> {
  const reader = body.pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data) as Event;
    }
  }
}
