"""Tryton (ERP, CRM, inventory): quotes, orders, shipments, returns, goods, invoices, opportunities, deleted customers."""
