// Send some events with the original Segment library for Node.js: `node send.mjs ADDRESS KEY`.
import { Analytics } from "@segment/analytics-node";

const [address, key] = process.argv.slice(2);
const analytics = new Analytics({ writeKey: key, host: address, maxRetries: 3 });
analytics.on("error", (error) => { console.error(error); process.exitCode = 1; });
analytics.identify({ userId: "node", traits: { email: "node@shop.example" } });
analytics.track({ userId: "node", event: "Order Completed", properties: { order_id: "n1", total: 3 } });
analytics.page({ anonymousId: "anon-node", name: "Pricing", properties: { url: "https://shop.example/pricing" } });
await analytics.closeAndFlush({ timeout: 10000 });
