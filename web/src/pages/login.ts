// One field: the operator's token.

import { post } from "../data";
import { h, put } from "../dom";

export function loginPage(root: HTMLElement): () => void {
  document.title = "Log in · Tieline";
  const token = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
  const problem = h("p", { class: "bad", role: "alert" });
  const form = h("form", { class: "login panel" }, h("h1", {}, "Tieline"), h("label", { for: "token" }, "Your operator's token"), token, h("button", { class: "button", type: "submit" }, "Log in"), problem);
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    post("/api/login", { token: token.value })
      .then(() => location.assign("/"))
      .catch((error: Error) => put(problem, error.message));
  });
  put(root, form);
  token.focus();
  return () => undefined;
}
