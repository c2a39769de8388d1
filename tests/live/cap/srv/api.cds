using { s4 } from '../db/schema';

@path: '/API_SALES_ORDER_SRV'
@requires: 'authenticated-user'
service API_SALES_ORDER_SRV {
  entity A_SalesOrder as projection on s4.SalesOrder;
  entity A_SalesOrderItem as projection on s4.SalesOrderItem;
}

@path: '/API_OUTBOUND_DELIVERY_SRV'
@requires: 'authenticated-user'
service API_OUTBOUND_DELIVERY_SRV {
  entity A_OutbDeliveryHeader as projection on s4.Delivery;
}
