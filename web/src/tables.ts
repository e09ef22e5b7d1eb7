// A table, a button and a sum of money as a tenant's pages have them.

import { h, headRow, on, type Child } from "./dom";
import { DASH, num } from "./format";

export const table = (heads: string[], rows: Child[][], empty: string, keys: string[] = []): HTMLElement =>
  rows.length ? h("div", { class: "scroll" }, h("table", {}, headRow(heads), h("tbody", {}, rows.map((row, i) => h("tr", { "data-key": keys[i] }, row.map((cell, n) => h("td", { "data-label": heads[n] }, h("span", {}, cell)))))))) : h("p", { class: "note" }, empty);

export function button(name: string, go: () => void, cls = "button plain"): HTMLButtonElement {
  const el = h("button", { class: cls, type: "button" }, name);
  on(el, "click", go);
  return el;
}

/** Exact figures keep their nine places; the eye is given the cents, and more only where they would say nothing. */
export function dollars(usd: string | undefined): HTMLElement | string {
  if (usd === undefined) return DASH;
  const value = Number(usd);
  return h("span", { title: `${usd} USD` }, `${num(value, value !== 0 && Math.abs(value) < 0.1 ? 6 : 2)} USD`);
}

/** Sums of exact decimals with nine places, without a float between. */
export const nano = (usd: string): bigint => {
  const [whole = "0", part = ""] = usd.replace("-", "").split(".");
  const value = BigInt(whole + part.padEnd(9, "0").slice(0, 9));
  return usd.startsWith("-") ? -value : value;
};
export const exact = (value: bigint): string => {
  const text = (value < 0n ? -value : value).toString().padStart(10, "0");
  return `${value < 0n ? "-" : ""}${text.slice(0, -9)}.${text.slice(-9)}`;
};
