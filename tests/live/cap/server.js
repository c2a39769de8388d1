// CAP with OData 2 in addition to its built-in OData 4, on loopback only.
const cds = require('@sap/cds')
const v2 = require('@cap-js-community/odata-v2-adapter')

cds.on('bootstrap', (app) => {
  const listen = app.listen.bind(app)
  app.listen = (port) => listen(port, '127.0.0.1')
  app.use(v2({ target: `http://127.0.0.1:${process.env.PORT}` }))
})
module.exports = cds.server
