// Passkeys: made and shown by the device, judged by the console.

import { get, post } from "./data";
import { h, headRow, put } from "./dom";
import { age } from "./format";

interface Passkey { id: string; name: string; made: number; seen: number | null }
interface Asked { challenge: string; options: unknown }
/** What browsers of 2024 on have, and the page's types do not know yet. */
interface Parsing { parseCreationOptionsFromJSON?: (o: unknown) => PublicKeyCredentialCreationOptions; parseRequestOptionsFromJSON?: (o: unknown) => PublicKeyCredentialRequestOptions }

const parsing = (): Parsing => (typeof PublicKeyCredential === "undefined" ? {} : (PublicKeyCredential as unknown as Parsing));
const sent = (made: Credential | null): unknown => (made as unknown as { toJSON: () => unknown }).toJSON();
/** What a person did at their device is no error of ours: said in words. */
const said = (error: Error): string => (error.name === "NotAllowedError" ? "Nothing was chosen, or the device waited too long. Try again." : error.name === "InvalidStateError" ? "This device has a passkey for this account already." : error.message);

/** "Sign in with a passkey", where the browser can and the address is a name. */
export function passkeyButton(done: () => void): HTMLElement | null {
  const parse = parsing().parseRequestOptionsFromJSON;
  if (!parse) return null;
  const button = h("button", { class: "button plain", type: "button" }, "Sign in with a passkey");
  const problem = h("p", { class: "bad", role: "alert" });
  button.addEventListener("click", () => {
    put(problem);
    button.disabled = true;
    post<Asked>("/api/login/passkey/begin", {})
      .then(async (asked) => {
        const credential = await navigator.credentials.get({ publicKey: parse.call(PublicKeyCredential, asked.options) });
        await post("/api/login/passkey", { challenge: asked.challenge, credential: sent(credential) });
        done();
      })
      .catch((error: Error) => put(problem, said(error)))
      .finally(() => { button.disabled = false; });
  });
  return h("div", { class: "passkey" }, button, problem);
}

/** One's own passkeys: what there is, one more, one less. */
export function passkeyPanel(): HTMLElement {
  const panel = h("section", { class: "panel" });
  const problem = h("p", { class: "bad", role: "alert" });
  const show = (): Promise<void> => get<{ passkeys: Passkey[]; why_not: string | null }>("/api/me/passkeys").then(({ passkeys, why_not }) => {
    put(panel, h("h2", {}, "Passkeys"), h("p", { class: "note" }, "Sign in with this device's finger, face or number, or with a security key; no password is typed."),
      passkeys.length ? table(passkeys, show) : null, why_not ? h("p", { class: "note" }, why_not) : adding(show, problem), problem);
  }).catch((error: Error) => put(panel, h("p", { class: "bad" }, error.message)));
  void show();
  return panel;
}

function table(passkeys: Passkey[], again: () => Promise<void>): HTMLElement {
  const now = Date.now() / 1000;
  return h("div", { class: "scroll" }, h("table", {}, headRow(["Name", "Made", "Last used", ""]), h("tbody", {}, passkeys.map((one) => {
    const gone = h("button", { class: "button plain", type: "button", "aria-label": `Remove ${one.name}` }, "Remove");
    gone.addEventListener("click", () => void post("/api/me/passkeys/remove", { id: one.id }).then(again));
    return h("tr", {}, h("td", {}, one.name), h("td", {}, age(now - one.made)), h("td", {}, one.seen === null ? "never" : age(now - one.seen)), h("td", {}, gone));
  }))));
}

function adding(again: () => Promise<void>, problem: HTMLElement): HTMLElement {
  const parse = parsing().parseCreationOptionsFromJSON;
  if (!parse) return h("p", { class: "note" }, "This browser makes no passkeys.");
  const name = h("input", { id: "passkey-name", type: "text", required: true, maxlength: "60", placeholder: "my laptop" });
  const form = h("form", { class: "inline-form" }, h("label", { for: "passkey-name" }, "Name of a new one"), name, h("button", { class: "button", type: "submit" }, "Add a passkey"));
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    put(problem);
    post<Asked>("/api/me/passkeys/begin", {})
      .then(async (asked) => {
        const credential = await navigator.credentials.create({ publicKey: parse.call(PublicKeyCredential, asked.options) });
        await post("/api/me/passkeys", { challenge: asked.challenge, credential: sent(credential), name: name.value });
        await again();
      })
      .catch((error: Error) => put(problem, said(error)));
  });
  return form;
}
