// A tenant's own page: spend, limits, prices, invoice, requests, keys, people, and a first request to copy or to try.

import { get, post, type Me } from "../data";
import { h, patch, put, say, type Child } from "../dom";
import { count, DASH, num } from "../format";
import { refusedTable, type RefusedView } from "../refused";
import { button, dollars, table } from "../tables";
import { isDark, onTheme, toggleTheme } from "../theme";
import { when } from "../times";
import { issuedTable, type Issued } from "./invoice";

interface Sum { name: string; requests: number; failed: number; prompt_tokens: number; output_tokens: number; usd?: string }
interface Usage { month: string; tenant: string; now: number; total: Sum; by_key: Sum[]; by_project: Sum[]; by_model: Sum[]; by_day: Sum[] }
interface Budget { scope: string; name: string; period: string; budget_usd: string; spent_usd: string; steps: { share: number; day: string | null }[] }
interface Limits { limits: Record<string, number | string | null>; left_usd?: string | null; spent_usd?: string; budgets?: Budget[]; disabled: boolean }
interface Price { model: string; label: string; unit: string; usd_per_unit: string | null; input_usd_per_mtok: string; output_usd_per_mtok: string; cached_usd_per_mtok: string | null; later: { since: string; usd_per_unit: string | null; input_usd_per_mtok: string; output_usd_per_mtok: string }[] }
interface Prices { base_url: string; models: Price[]; ready: string[] }
interface Key { id: string; project: string; models: string[]; role: string; expires: string | null; budget_usd: string | null; former_until: string[]; last_used: number | null }
interface Asked { at: number; request_id: string; project: string; key_id: string; model: string; status: number; outcome: string; prompt_tokens: number; output_tokens: number; first_token_ms: number | null; total_ms: number | null; usd?: string }
interface Requests { requests: Asked[]; more: boolean; next: string | null }
interface Line { project: string; model: string; requests: number; prompt_tokens: number; output_tokens: number; replica_s: number; unit: string; units: number; exact_usd: string; usd: string }
interface Invoice { invoice: { month: string; total_usd: string; lines: Line[] } | null }
interface Status { now: number; days: number; models: { model: string; ready: boolean }[]; interruptions: { model: string; since: number; until: number | null }[]; more: number }
interface Person { id: string; name: string; roles: string[]; joined: boolean; disabled: boolean }

/** The bar of a page that knows nothing of the fleet. */
export function portalHeader(me: Me | null): HTMLElement {
  const theme = h("button", { type: "button", class: "quiet theme" });
  const label = (): void => {
    say(theme, isDark() ? "Light" : "Dark");
    theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  theme.addEventListener("click", () => toggleTheme());
  onTheme(label);
  label();
  return h("header", { class: "top" }, h("div", { class: "bar-row" }, h("a", { href: "/my", class: "brand" }, h("b", {}, "Tieline")), h("span", { class: "fleet" }, me?.tenant ?? ""),
    h("div", { class: "status portal-status" }, h("a", { class: "who portal-who", href: "/account" }, me?.name || me?.id || "Account"), theme)));
}

// What the person sees of a secret stays in this page alone, and goes with it.
let secret = "";
const LIVE_MS = 10_000;
let timers: number[] = [];
let requestsTimer = 0;

export function myPage(root: HTMLElement): () => void {
  document.title = "My usage · Tieline";
  let left = false;
  const box = h("div", { class: "portal" });
  put(root, box);
  void get<Me>("/api/me").then((me) => {
    if (!left) build(box, me);
  }).catch((error: Error) => put(box, h("p", { class: "bad" }, error.message)));
  return () => {
    left = true;
    timers.forEach((one) => clearInterval(one));
    timers = [];
    secret = "";
  };
}

/** A part that loads by itself and says by itself why it cannot. */
function part<T>(title: string, path: string, show: (data: T, again: () => void) => Child[], note = "", live = false): [HTMLElement, () => void] {
  const body = h("div", {}, h("p", { class: "wait" }, "Reading…"));
  let told = "";
  const el = h("section", { class: "panel" }, h("h2", {}, title), note ? h("p", { class: "note" }, note) : null, body);
  const load = (): void => void get<T>(path).then((data) => put(body, ...show(data, load))).catch((error: Error) => put(body, h("p", { class: "bad", role: "alert" }, error.message)));
  load();
  const look = async (): Promise<void> => {
    if (document.hidden) return;
    const data = await get<T>(path), fresh = JSON.stringify({ ...data, now: null });
    if (fresh === told) return;
    told = fresh;
    patch(body, ...show(data, load));
  };
  if (live) timers.push(window.setInterval(() => void look().catch(() => undefined), LIVE_MS));
  return [el, load];
}

function build(box: HTMLElement, me: Me): void {
  const may = (right: string): boolean => me.rights.includes(right);
  const money = may("TENANT_MONEY");
  const requests = h("section", { class: "panel", id: "requests" });
  const open = (narrow: Record<string, string>): void => {
    showRequests(requests, narrow, money);
    requests.scrollIntoView({ block: "start" });
  };
  const [used] = part<Usage>(money ? "Spend this month" : "Usage this month", "/api/my/usage", (u) => usage(u, money, open), "By calendar month (UTC), to the request that was recorded last.", true);
  const [status] = part<Status>("Status", "/api/my/status", statusOf, "", true);
  const [limits] = part<Limits>(money ? "Budget and limits" : "Limits", "/api/my/limits", limitsOf, "", true);
  const [refused] = part<RefusedView>("Refused at the door", "/api/my/refusals", refusedTable, "Requests that were not taken, and are not billed: over a budget or limit, with a key that is no longer good, or that cannot be read. Told within a minute or two.", true);
  const first = h("section", { class: "panel" });
  const [prices] = part<Prices>("Prices in force", "/api/my/prices", (p) => {
    quickstart(first, p, may("TENANT_KEYS"));
    return priceTable(p);
  }, "USD per million tokens.");
  put(box, h("div", { class: "page-head" }, h("h1", {}, me.tenant ?? "")), used, status, limits, refused,
    money ? part<Invoice>("Invoice to date", "/api/my/invoice", (i) => invoice(i, open), "Each line is rounded once, to the cent; a line opens to its requests.", true)[0] : null,
    money ? part<Issued>("Invoices", "/api/my/invoices", issuedTable, "As they were issued; their lines never change.")[0] : null,
    keysPanel(may("TENANT_KEYS"), () => fill(first)), first, prices, requests, may("TENANT_PEOPLE") ? part<{ people: Person[]; roles: string[] }>("People", "/api/my/people", peopleTable)[0] : null);
  showRequests(requests, {}, money);
}

function usage(u: Usage, money: boolean, open: (narrow: Record<string, string>) => void): Child[] {
  const heads = ["", ...(money ? ["Spend"] : []), "Requests", "Failed", "Tokens in", "Tokens out"];
  const row = (one: Sum, name: Child): Child[] => [name, ...(money ? [dollars(one.usd)] : []), num(one.requests, 0), num(one.failed, 0), num(one.prompt_tokens, 0), num(one.output_tokens, 0)];
  const way = (title: string, sums: Sum[], narrow?: string): Child => h("details", { open: title === "By key" }, h("summary", {}, title),
    table(heads, sums.map((one) => row(one, narrow && one.name ? button(one.name, () => open({ [narrow]: one.name }), "linklike") : one.name || "rented")), "Nothing was used in this month yet."));
  return [
    h("p", { class: "big" }, money ? dollars(u.total.usd) : `${num(u.total.requests, 0)} requests`, h("span", { class: "note" }, ` in ${u.month}: ${count(u.total.requests, "request")}, ${num(u.total.prompt_tokens, 0)} tokens in, ${num(u.total.output_tokens, 0)} out`)),
    way("By key", u.by_key, "key"), way("By project", u.by_project, "project"), way("By model", u.by_model, "model"), way("By day", [...u.by_day].reverse()),
  ];
}

function statusOf(s: Status): Child[] {
  const away = s.models.filter((m) => !m.ready).map((m) => m.model);
  return [
    h("p", { class: away.length || !s.models.length ? "bad" : "" }, h("b", {}, !s.models.length ? "No model is served." : away.length ? `Not served now: ${away.join(", ")}.` : `All models are served: ${s.models.map((m) => m.model).join(", ")}.`)),
    h("details", {}, h("summary", {}, s.interruptions.length ? `${count(s.interruptions.length + s.more, "interruption")} in ${s.days} days` : `No interruption in ${s.days} days`),
      h("p", { class: "note" }, "A time in which no replica of a model was ready. While the whole platform is away nothing is told, here neither."),
      table(["Model", "From", "To", "For"], s.interruptions.map((i) => [i.model, when(i.since), i.until === null ? "still" : when(i.until), lasted((i.until ?? s.now) - i.since)]), ""),
      s.more ? h("p", { class: "note" }, `${count(s.more, "older one")}`) : null),
  ];
}

const lasted = (seconds: number): string => (seconds < 90 ? `${num(seconds, 0)} s` : seconds < 5400 ? `${num(seconds / 60, 0)} min` : `${num(seconds / 3600, 1)} h`);

function limitsOf(l: Limits): Child[] {
  const out: Child[] = [];
  if (l.disabled) out.push(h("p", { class: "bad" }, "This account's keys are refused now; ask whoever runs the platform."));
  if (l.spent_usd !== undefined) {
    const budget = l.limits["budget_usd"];
    if (budget === null || budget === undefined) out.push(h("p", {}, "No budget is set for all keys together."));
    else if (l.left_usd) out.push(h("p", {}, dollars(l.left_usd), " left to admit now; what runs at this moment holds its share of the rest."));
    out.push((l.budgets ?? []).map(budgetOf));
  }
  const row = (name: string, value: unknown): Child[] => [name, value === null || value === undefined ? "no limit" : num(Number(value), 0)];
  out.push(table(["Limit", "All keys together"], [row("Requests per minute", l.limits["requests_per_minute"]), row("Tokens per minute", l.limits["tokens_per_minute"]), row("Requests at once", l.limits["concurrent"])], ""));
  return out;
}

/** A budget with the steps at which one is told: half, four fifths, all but a twentieth, all of it. */
function budgetOf(b: Budget): HTMLElement {
  const share = Number(b.spent_usd) / Number(b.budget_usd), name = b.name ? `${b.scope} ${b.name}` : b.scope;
  const passed = b.steps.filter((one) => one.day !== null).at(-1), next = b.steps.find((one) => one.day === null);
  const percent = (one: { share: number }): string => `${num(100 * one.share, 0)} %`;
  const spent = passed?.share === 1, grave = spent || (passed?.share ?? 0) >= 0.95;
  const said = spent ? `The budget is spent since ${passed.day}: requests are refused until the next ${b.period}, or until it is raised.` : passed ? `${percent(passed)} passed on ${passed.day}.` : "";
  return h("div", { class: "budget", "data-key": name },
    h("p", {}, h("b", {}, name.charAt(0).toUpperCase() + name.slice(1)), " ", dollars(b.spent_usd), " of ", dollars(b.budget_usd), ` a ${b.period}`, said ? [". ", h("span", { class: grave ? "bad" : "", role: grave ? "alert" : "status" }, said)] : null, next ? h("small", {}, ` Next said at ${percent(next)}.`) : null),
    h("meter", { min: "0", max: "1", high: "0.8", optimum: "0.2", value: String(Math.min(1, share || 0)), "aria-label": `Share of the budget that is spent: ${name}` }),
    h("ol", { class: "steps", "aria-label": `Steps of the budget: ${name}` }, b.steps.map((one) => h("li", { class: one.day ? "passed" : "" }, h("b", {}, percent(one)), " ", one.day ?? "not passed"))));
}

function priceTable(p: Prices): Child[] {
  return [table(["Model", "Input", "Cached", "Output", "Announced"], p.models.map((m) => [[h("b", {}, m.model), m.label ? h("span", { class: "note" }, ` ${m.label}`) : null], m.unit ? `${m.usd_per_unit ?? 0} per ${m.unit}` : m.input_usd_per_mtok, m.unit ? "" : m.cached_usd_per_mtok ?? m.input_usd_per_mtok, m.unit ? "" : m.output_usd_per_mtok, m.later.length ? m.later.map((one) => `${m.unit ? one.usd_per_unit : `${one.input_usd_per_mtok} in, ${one.output_usd_per_mtok} out`} from ${one.since.slice(0, 16).replace("T", " ")}`).join("; ") : "none"]),
    p.ready.length ? `No price list is in force; ready now: ${p.ready.join(", ")}.` : "No model is on offer yet.")];
}

function invoice(i: Invoice, open: (narrow: Record<string, string>) => void): Child[] {
  if (!i.invoice) return [h("p", { class: "note" }, "Nothing was used in this month yet.")];
  return [h("p", { class: "big" }, `${i.invoice.total_usd} USD`, h("span", { class: "note" }, ` for ${i.invoice.month}, to date`)),
    table(["Line", "Amount", "Exact", "Requests", "Tokens in", "Tokens out"], i.invoice.lines.map((l) => [l.project ? button(`${l.project}, ${l.model}`, () => open({ project: l.project, model: l.model }), "linklike") : `${l.model}: ${num(l.replica_s / 3600, 1)} replica hours`, `${l.usd} USD`, l.exact_usd, num(l.requests, 0), l.unit ? `${num(l.units, 0)} ${l.unit}s` : num(l.prompt_tokens, 0), l.unit ? "" : num(l.output_tokens, 0)]), "")];
}

function showRequests(el: HTMLElement, narrow: Record<string, string>, money: boolean, after = ""): void {
  const query = new URLSearchParams({ ...narrow, limit: "50", ...(after ? { after } : {}) });
  const body = h("div", {}, h("p", { class: "wait" }, "Reading…"));
  const told = Object.entries(narrow).map(([k, v]) => `${k} ${v}`).join(", ");
  put(el, h("h2", {}, "Requests"), h("p", { class: "note" }, told ? [`Of ${told}. `, button("All requests", () => showRequests(el, {}, money), "linklike")] : "Newest first. A request that was refused at the door (no valid key, over a limit) leaves no record and is not listed."), body);
  const load = (): void => void get<Requests>(`/api/my/requests?${query}`).then((r) => patch(body,
    table(["Time", "Outcome", "Key", "Model", "Tokens", "First token", "Whole", ...(money ? ["Cost"] : [])], r.requests.map((one) => [
      when(one.at), h("span", { class: one.status >= 400 ? "bad" : "" }, one.outcome, one.status >= 400 ? h("small", {}, ` ${one.status}`) : null), one.key_id, one.model,
      `${num(one.prompt_tokens, 0)} in, ${num(one.output_tokens, 0)} out`, one.first_token_ms === null ? DASH : `${num(one.first_token_ms, 0)} ms`, one.total_ms === null ? DASH : `${num(one.total_ms, 0)} ms`, ...(money ? [dollars(one.usd)] : []),
    ]), r.more ? "None on this page; there are older ones." : "No request was recorded yet.", r.requests.map((one) => one.request_id)),
    r.more && r.next ? button("Older", () => showRequests(el, narrow, money, r.next!)) : null,
  )).catch((error: Error) => put(body, h("p", { class: "bad", role: "alert" }, error.message)));
  load();
  clearInterval(requestsTimer);
  // The newest page goes on by itself; a page of older ones stays as it was read.
  if (!after) timers.push((requestsTimer = window.setInterval(() => document.hidden || load(), LIVE_MS)));
}

/** What is shown once stands apart from the table, which is read anew around it. */
function keysPanel(may: boolean, told: () => void): HTMLElement {
  const said = h("div", { role: "status" }), list = h("div", {}, h("p", { class: "wait" }, "Reading…"));
  const bad = (error: Error): void => put(said, h("p", { class: "bad" }, error.message));
  const load = (): void => void get<{ keys: Key[] }>("/api/my/keys").then((k) => patch(list, keyTable(k.keys, may, rotate, revoke))).catch((error: Error) => put(list, h("p", { class: "bad", role: "alert" }, error.message)));
  const shown = (answer: { secret: string; key: Key }, what: string): void => {
    secret = answer.secret;
    told();
    load();
    const copy = button("Copy", () => void navigator.clipboard?.writeText(answer.secret).then(() => say(copy, "Copied")).catch(() => undefined));
    put(said, h("div", { class: "secret" }, h("p", {}, h("b", {}, `${answer.key.id}: ${what}`), " This is shown once."), h("p", {}, h("code", {}, answer.secret), " ", copy, " ", button("I have kept it", () => put(said)))));
  };
  const rotate = (key: Key): void => {
    const hours = h("input", { id: "overlap", type: "number", min: "0", max: "2160", value: "24", required: true });
    const form = h("form", { class: "narrow" }, h("label", { for: "overlap" }, `Hours for which the secret before of ${key.id} stays valid`), hours, h("button", { class: "button", type: "submit" }, "Rotate"), " ", button("Cancel", () => put(said)));
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      post<{ secret: string; key: Key }>(`/api/my/keys/${encodeURIComponent(key.id)}/rotate`, { overlap_h: Number(hours.value) }).then((a) => shown(a, `rotated, the one before ends ${Number(hours.value) ? `in ${hours.value} h` : "now"}.`)).catch(bad);
    });
    put(said, form);
    hours.focus();
  };
  const revoke = (key: Key): void => {
    if (confirm(`Revoke ${key.id}? Requests with it are refused within a second.`)) post(`/api/my/keys/${encodeURIComponent(key.id)}/revoke`, {}).then(load).catch(bad);
  };
  load();
  return h("section", { class: "panel" }, h("h2", {}, "Keys"), h("p", { class: "note" }, "A key's secret is shown once, when it is made or rotated."), said, list, may ? makeKey(shown, bad) : null);
}

function keyTable(keys: Key[], may: boolean, rotate: (key: Key) => void, revoke: (key: Key) => void): Child {
  const rows = keys.map((key) => [h("b", {}, key.id), key.project, key.models.join(", ") || "all", key.expires ? key.expires.slice(0, 10) : "never", key.budget_usd ?? "none", key.last_used === null ? "not in this month" : when(key.last_used),
    may ? h("span", { class: "acts" }, button("Rotate", () => rotate(key)), button("Revoke", () => revoke(key))) : null,
    key.former_until.length ? `secret before valid to ${key.former_until.map((one) => one.slice(0, 16).replace("T", " ")).join(", ")}` : null] as Child[]);
  return table(["Key", "Project", "Models", "Expires", "Budget, USD", "Last used", "", ""], rows, "No key yet.");
}

function makeKey(shown: (answer: { secret: string; key: Key }, what: string) => void, bad: (error: Error) => void): HTMLElement {
  const name = h("input", { id: "key-name", required: true, maxlength: "48", autocomplete: "off", spellcheck: "false", placeholder: "website" });
  const project = h("input", { id: "key-project", required: true, maxlength: "48", value: "default", autocomplete: "off", spellcheck: "false" });
  const models = h("input", { id: "key-models", autocomplete: "off", spellcheck: "false", placeholder: "all" });
  const days = h("input", { id: "key-days", type: "number", min: "1", max: "3650", placeholder: "until revoked" });
  const budget = h("input", { id: "key-budget", inputmode: "decimal", placeholder: "none", autocomplete: "off" });
  const form = h("form", { class: "narrow" }, h("h3", {}, "Make a key"), h("label", { for: "key-name" }, "Name"), name, h("label", { for: "key-project" }, "Project"), project, h("label", { for: "key-models" }, "Models, with commas between"), models,
    h("label", { for: "key-days" }, "Days it is valid"), days, h("label", { for: "key-budget" }, "Budget per month, USD"), budget, h("button", { class: "button", type: "submit" }, "Make a key"));
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    const list = models.value.split(",").map((m) => m.trim()).filter(Boolean);
    post<{ secret: string; key: Key }>("/api/my/keys", { name: name.value.trim(), project: project.value.trim(), models: list, days: days.value ? Number(days.value) : null, budget_usd: budget.value.trim() || null })
      .then((answer) => {
        form.reset();
        shown(answer, "made.");
      })
      .catch(bad);
  });
  return h("details", {}, h("summary", {}, "Make a key"), form);
}

let offered: Prices | null = null;

function quickstart(el: HTMLElement, p: Prices, may: boolean): void {
  offered = p;
  put(el, h("h2", {}, "First request"), h("p", { class: "note" }, "With the key that was made or rotated on this page, as long as it is open."), h("div", { class: "samples" }), may ? tryBox(p) : null);
  fill(el);
}

const modelOf = (p: Prices): string => p.models.find((m) => p.ready.includes(m.model))?.model ?? p.models[0]?.model ?? p.ready[0] ?? "MODEL";

/** Where this page is open on another machine, the gateway is there too. */
function baseUrl(p: Prices): string {
  const url = new URL(p.base_url || "http://127.0.0.1/v1");
  if (url.hostname === "127.0.0.1") url.hostname = location.hostname;
  return url.href;
}

function fill(el: HTMLElement): void {
  const box = el.querySelector(".samples"), key = el.querySelector<HTMLInputElement>("#try-key");
  if (!box || !offered) return;
  if (key && secret) key.value = secret;
  const base = baseUrl(offered), model = modelOf(offered), token = secret || "YOUR_KEY";
  const samples: [string, string][] = [
    ["curl", `curl ${base}/chat/completions \\\n  -H "authorization: Bearer ${token}" \\\n  -H "content-type: application/json" \\\n  -d '${JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] })}'`],
    ["Python", `from openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key="${token}")\nanswer = client.chat.completions.create(\n    model="${model}",\n    messages=[{"role": "user", "content": "Hello"}],\n)\nprint(answer.choices[0].message.content)`],
    ["TypeScript", `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${base}", apiKey: "${token}" });\nconst answer = await client.chat.completions.create({\n  model: "${model}",\n  messages: [{ role: "user", content: "Hello" }],\n});\nconsole.log(answer.choices[0].message.content);`],
  ];
  put(box, samples.map(([name, text], i) => h("details", { open: i === 0 }, h("summary", {}, name), h("pre", { tabindex: "0", "aria-label": name }, text))));
}

function tryBox(p: Prices): HTMLElement {
  const key = h("input", { id: "try-key", type: "password", autocomplete: "off", required: true, placeholder: "sk-…" });
  const text = h("textarea", { id: "try-text", rows: "2", maxlength: "4000", required: true }, "Say hello in one sentence.");
  const said = h("p", { role: "status", class: "try-said" });
  const send = h("button", { class: "button", type: "submit" }, "Ask");
  const form = h("form", { class: "narrow" }, h("h3", {}, "Try it"), h("p", { class: "note" }, "An ordinary request: it is billed and counts against the limits."), h("label", { for: "try-key" }, "Key"), key, h("label", { for: "try-text" }, "Message"), text, send, said);
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    send.disabled = true;
    say(said, "Waiting for the first token…");
    void ask(key.value.trim(), text.value, modelOf(p), said).catch((error: Error) => put(said, h("span", { class: "bad" }, error.message))).finally(() => {
      send.disabled = false;
    });
  });
  return form;
}

async function ask(key: string, text: string, model: string, said: HTMLElement): Promise<void> {
  const reply = await fetch("/api/my/try", { method: "POST", headers: { "content-type": "application/json", "x-tieline": "console" }, body: JSON.stringify({ key, model, messages: [{ role: "user", content: text }] }) });
  if (!reply.ok || !reply.body) {
    const problem = await reply.json().catch(() => ({}));
    throw new Error(typeof problem.error === "string" ? problem.error : (problem.error?.message ?? `the gateway answered ${reply.status}`));
  }
  const reader = reply.body.pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "", answer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (!data || data === "[DONE]") continue;
      const event = JSON.parse(data) as { error?: { message?: string }; choices?: { delta?: { content?: string } }[] };
      if (event.error) throw new Error(event.error.message ?? "the answer broke off");
      answer += event.choices?.[0]?.delta?.content ?? "";
      say(said, answer);
    }
  }
}

function peopleTable(data: { people: Person[]; roles: string[] }, again: () => void): Child[] {
  const said = h("p", { role: "status" });
  const act = (path: string, body: unknown): void => void post<{ link?: string }>(path, body).then((answer) => {
    if (answer.link) put(said, "Send this link, it works once and for a day: ", h("code", {}, location.origin + answer.link));
    else again();
  }).catch((error: Error) => put(said, h("span", { class: "bad" }, error.message)));
  const at = (id: string, what: string): string => `/api/my/people/${encodeURIComponent(id)}/${what}`;
  const rows = data.people.map((one) => [one.id, one.name, one.roles.join(", "), one.disabled ? "disabled" : one.joined ? "joined" : "invited", h("span", { class: "acts" }, button("New link", () => act(at(one.id, "link"), {})), button("Remove", () => {
    if (confirm(`Remove ${one.id}? Their sessions end now.`)) act(at(one.id, "remove"), {});
  }))] as Child[]);
  const id = h("input", { id: "mate-id", required: true, maxlength: "80", autocomplete: "off", spellcheck: "false", placeholder: "ada" });
  const name = h("input", { id: "mate-name", required: true, maxlength: "80", autocomplete: "off", placeholder: "Ada Lovelace" });
  const boxes = data.roles.map((role) => h("input", { type: "checkbox", value: role, id: `mate-${role}` }));
  const form = h("form", { class: "narrow" }, h("h3", {}, "Invite somebody"), h("label", { for: "mate-id" }, "Account"), id, h("label", { for: "mate-name" }, "Name"), name, h("fieldset", {}, h("legend", {}, "Roles"), boxes.map((box) => h("label", {}, box, " ", box.value))), h("button", { class: "button", type: "submit" }, "Make a link"));
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    act("/api/my/people", { id: id.value.trim(), name: name.value, roles: boxes.filter((b) => b.checked).map((b) => b.value) });
  });
  return [said, table(["Account", "Name", "Roles", "State", ""], rows, ""), h("details", {}, h("summary", {}, "Invite somebody"), form)];
}
