// Sets the new password when the person asks for it: opening the page, as mail scanners do, uses nothing up.
import { offer } from "./link.js";

const password = document.getElementById("password");

offer(
  document.getElementById("form"),
  "password/reset",
  (token) => ({ token, new_password: password.value }),
  {
    204: "Your new password is set, and every device was signed out. You can close this page and sign in.",
    400: "This link is not valid any more: it has expired, or it was used before. Please ask for a new mail.",
  },
);
