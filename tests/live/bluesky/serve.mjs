// An AT Protocol server with its identity directory on loopback: node serve.mjs PDS_PORT PLC_PORT HELD_MILLISECONDS
import net from 'node:net'
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (first, ...others) {
  return typeof first === 'number' ? listen.call(this, first, '127.0.0.1', ...others) : listen.call(this, first, ...others)
}
const { TestNetworkNoAppView } = await import('@atproto/dev-env')
const [pds, plc, held] = process.argv.slice(2).map(Number)
await TestNetworkNoAppView.create({ pds: { port: pds, hostname: 'localhost', repoBackfillLimitMs: held }, plc: { port: plc } })
console.log('ready')
