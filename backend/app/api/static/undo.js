// Brings the old address back when the person asks for it: opening the page, as mail scanners do, uses nothing up.
import { offer } from "./link.js";

offer(document.getElementById("confirm"), "verify-email/undo", (token) => ({ token }), {
  204: "Your account has this address again, everybody was signed out, and your password works no more. We have mailed you a link to set a new one.",
  400: "This link is not valid any more: it has expired, or it was used before.",
});
