// An invoice as it was issued: as a page that prints, each line opening to the records it is the sum of; as CSV and PDF.

import { get } from "../data";
import { h, put, say, type Child } from "../dom";
import { count, DASH, num } from "../format";
import { button, dollars, exact, nano, table } from "../tables";
import { when } from "../times";

interface Party { name: string; address: string[]; tax_id: string }
interface Line { kind: string; what: string; detail: string; project: string; model: string; requests: number; exact_usd: string | null; usd: string }
interface Invoice {
  number: string; month: string; at: number; due: string; simulated: boolean; seller: Party; buyer: Party; net_usd: string; tax_usd: string; total_usd: string;
  since: string; until: string; pdf: boolean; lines: Line[];
}
interface Asked { at: number; request_id: string; key_id: string; outcome: string; status: number; prompt_tokens: number; output_tokens: number; usd: string }
interface Requests { requests: Asked[]; more: boolean; next: string | null }
interface Hour { at: number; replicas: number; provided_s: number; usd_per_replica_hour: string; usd: string }
export interface Issued { invoices: { number: string; month: string; at: number; usd: string }[]; pdf: boolean }

const at = (number: string, what = ""): string => `/api/my/invoices/${encodeURIComponent(number)}${what}`;
const files = (number: string, pdf: boolean): Child[] => [h("a", { href: at(number, "/csv"), download: true }, "CSV"), pdf ? [" ", h("a", { href: at(number, "/pdf"), download: true }, "PDF")] : null];

/** The list of them on a tenant's page. */
export function issuedTable(i: Issued): Child[] {
  const rows = i.invoices.map((one): Child[] => [h("a", { href: `/my/invoices/${encodeURIComponent(one.number)}`, "data-nav": true }, h("b", {}, one.number)), `${one.usd} USD`, one.month, when(one.at), files(one.number, i.pdf)]);
  return [table(["Invoice", "Amount", "Month", "Issued", "Files"], rows, "No invoice was issued yet; the first comes when a month has ended.", i.invoices.map((one) => one.number))];
}

export function invoicePage(root: HTMLElement, number: string): () => void {
  document.title = `Invoice ${number} · Tieline`;
  const crumbs = h("p", { class: "crumbs" }, h("a", { href: "/my", "data-nav": true }, "My usage"));
  put(root, crumbs, h("p", { class: "wait" }, "Reading…"));
  void get<Invoice>(at(number)).then((i) => put(root, crumbs, paper(i))).catch((error: Error) => put(root, crumbs, h("div", { class: "page-head" }, h("h1", {}, `Invoice ${number}`), h("p", { class: "bad", role: "alert" }, error.message))));
  return () => undefined;
}

function paper(i: Invoice): HTMLElement {
  const party = (title: string, one: Party): Child => h("div", {}, h("h2", {}, title), h("p", {}, h("b", {}, one.name || DASH), one.address.map((line) => [h("br"), line]), one.tax_id ? [h("br"), `Tax id ${one.tax_id}`] : null));
  const print = button("Print", () => window.print());
  return h("div", { class: "portal bill" },
    h("div", { class: "page-head" }, h("h1", {}, `Invoice ${i.number}`), h("p", { class: "big" }, h("span", { class: "value" }, i.total_usd), h("span", { class: "unit" }, "USD")),
      h("p", { class: "note" }, `Use of ${i.month}, issued `, when(i.at), i.due ? `, due ${i.due}` : ""), h("p", { class: "acts" }, files(i.number, i.pdf), " ", print)),
    i.simulated ? h("p", { class: "simulated" }, "Simulated: made from an invented fleet, nothing is owed.") : null,
    h("section", { class: "panel parties" }, party("From", i.seller), party("To", i.buyer)),
    h("section", { class: "panel", "aria-label": "Lines" }, h("p", { class: "note" }, "Each line was rounded once, to the cent. A line of use opens to the records that it is the sum of."),
      i.lines.map((line) => lineOf(i, line)),
      h("dl", { class: "totals" }, h("dt", {}, "Net"), h("dd", {}, `${i.net_usd} USD`), h("dt", {}, "Tax"), h("dd", {}, `${i.tax_usd} USD`), h("dt", {}, h("b", {}, "Total")), h("dd", {}, h("b", {}, `${i.total_usd} USD`)))));
}

function lineOf(i: Invoice, line: Line): HTMLElement {
  const words: Child[] = [h("span", { class: "what" }, h("b", {}, line.what), " ", h("small", {}, line.detail)), h("span", { class: "amount" }, `${line.usd} USD`, line.exact_usd === null ? null : h("small", {}, ` exactly ${line.exact_usd}`))];
  if (line.kind !== "usage" && line.kind !== "reserved") return h("div", { class: "line" }, words);
  const box = h("div", {}), el = h("details", { class: "line" }, h("summary", {}, words), box);
  el.addEventListener("toggle", () => {
    if (!el.open || box.firstChild) return;
    if (line.kind === "reserved") void hours(i, line, box);
    else void requests(i, line, box);
  });
  return el;
}

/** The requests of a line, a page at a time, and how much of the line they are. */
async function requests(i: Invoice, line: Line, box: HTMLElement): Promise<void> {
  const query = new URLSearchParams({ project: line.project, model: line.model, since: i.since, until: i.until, limit: "500" });
  const list: Asked[] = [], told = h("p", { class: "note", role: "status" }, "Reading…"), rows = h("div", {});
  const next = async (after: string | null): Promise<void> => {
    if (after) query.set("after", after);
    const page = await get<Requests>(`/api/my/requests?${query}`);
    list.push(...page.requests);
    const sum = list.reduce((n, one) => n + nano(one.usd), 0n);
    say(told, `${num(list.length, 0)} of ${count(line.requests, "request")}, ${exact(sum)} of ${line.exact_usd ?? "0"} USD${list.length === line.requests && exact(sum) === line.exact_usd ? ": they are the line" : ""}`);
    put(rows, table(["Time", "Key", "Request", "Outcome", "Tokens", "Cost"], list.map((one): Child[] => [when(one.at), one.key_id, h("code", {}, one.request_id), h("span", { class: one.status >= 400 ? "bad" : "" }, one.outcome), `${num(one.prompt_tokens, 0)} in, ${num(one.output_tokens, 0)} out`, dollars(one.usd)]), "No request is in the records any more.", list.map((one) => one.request_id)),
      page.more && page.next ? button("More of them", () => void next(page.next).catch(failed)) : null);
  };
  const failed = (error: Error): void => put(told, h("span", { class: "bad" }, error.message));
  put(box, told, rows);
  await next(null).catch(failed);
}

async function hours(i: Invoice, line: Line, box: HTMLElement): Promise<void> {
  put(box, h("p", { class: "note" }, "Reading…"));
  try {
    const told = await get<{ hours: Hour[]; more: number }>(`${at(i.number, "/hours")}?${new URLSearchParams({ line: line.model })}`);
    const sum = told.hours.reduce((n, one) => n + nano(one.usd), 0n);
    put(box, h("p", { class: "note" }, `${count(told.hours.length, "hour")}, ${exact(sum)} of ${line.exact_usd ?? "0"} USD${told.more ? `; ${told.more} more are not shown` : ""}`),
      table(["Hour from", "Replicas", "Provided", "USD per replica hour", "Cost"], told.hours.map((one): Child[] => [when(one.at), num(one.replicas, 0), `${num(one.provided_s / 3600, 2)} replica hours`, one.usd_per_replica_hour, dollars(one.usd)]), "No hour is in the records any more."));
  } catch (error) {
    put(box, h("p", { class: "bad" }, (error as Error).message));
  }
}
