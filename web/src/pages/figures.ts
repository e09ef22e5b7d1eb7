// What the pages of money share: panels, tables, amounts, and the ways from a figure to its entries and records.

import { h, headRow, put, type Child } from "../dom";
import { openRecords, type Ask } from "../drawer";
import { DASH, num } from "../format";

export interface Range { low: string; high: string }

export const panel = (name: string, ...body: Child[]): HTMLElement => h("section", { class: "panel", "aria-label": name }, h("h2", {}, name), ...body);
export const table = (heads: string[], rows: Child[][]): HTMLElement =>
  h("div", { class: "scroll" }, h("table", { class: "money" }, headRow(heads), h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) => h(i ? "td" : "th", i ? {} : { scope: "row" }, cell)))))));
export const btc = (text: string): string => `${num(Number(text), 8).replace(/\.?0+$/, "")} BTC`;
export const usd = (text: string | null, unit = "USD"): string => (text === null ? DASH : `${num(Number(text), 2)} ${unit}`);
export const percent = (text: string | null): string => (text === null ? "not known" : `${num(Number(text) * 100, 2)} %`);
export const range = (r: Range, show: (text: string) => string): string => (r.low === r.high ? show(r.low) : `${show(r.low)} to ${show(r.high)}`);
// Which entries make a figure: those of accounts and what is under them, or of them `only`; of coins in a `state`; that go
// `through` another account as well; that come of a `source` of cash; that move a
// `lot`.
export interface Of { account?: string[]; state?: string; through?: string[]; source?: string; lot?: string; only?: boolean }
// A figure opens to the entries that make it and what they sum to; with a month, to those of the month.
export const entriesOf = (of: string | Of, text: string, month = ""): HTMLElement => {
  const { account = [], state = "", through = [], source = "", lot = "", only = false } = typeof of === "string" ? { account: [of] } : of;
  const asked = [...account.map((one) => ["account", one]), ["state", state], ...through.map((one) => ["through", one]), ["source", source], ["lot", lot], ["only", only ? "1" : ""], ["month", month]];
  return h("a", { class: "ref", href: `/books?${new URLSearchParams(asked.filter(([, value]) => value) as string[][])}`, "data-nav": true }, text);
};
// A name as a part of an account: colons would begin another part.
export const part = (name: string): string => name.replaceAll(":", "-").trim() || "unnamed";
// What stands for a loan: coins that are still one's own, and claims on those that the lender may sell.
export const pledgedFor = (loan: string): Of => ({ account: ["Assets:Bitcoin:Pledged", "Assets:CollateralReceivable"].map((root) => `${root}:${part(loan)}`) });
// Or to the records behind it.
export const recordsOf = (name: string, asks: Ask[], text: string): HTMLElement => {
  const button = h("button", { type: "button", class: "quiet ref" }, text);
  button.addEventListener("click", () => openRecords(name, asks));
  return button;
};
export const policyOf = (lines: string[]): HTMLElement => h("details", { class: "policy" }, h("summary", {}, "Accounting policy"), h("ul", {}, lines.map((line) => h("li", {}, line))));
export const failed = (root: Element, error: Error): void => put(root, h("p", { class: "bad", role: "alert" }, error.message));
// The first second of a month and of the next, UTC, in seconds since 1970.
export const spanOf = (month: string): [number, number] => {
  const [year, number] = month.split("-").map(Number);
  return [Date.UTC(year!, number! - 1) / 1000, Date.UTC(year!, number!) / 1000];
};
