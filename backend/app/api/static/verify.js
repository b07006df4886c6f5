// Posts the token of the link when the person asks for it: opening the page, as mail scanners do, uses nothing up.
import { offer } from "./link.js";

offer(document.getElementById("confirm"), "verify-email", (token) => ({ token }), {
  204: "Your email address is confirmed. You can close this page and sign in.",
  400: "This link is not valid any more: it has expired, or it was used before. If you cannot sign in, ask for a new mail.",
});
