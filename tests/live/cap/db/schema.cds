namespace s4;

entity SalesOrder {
  key SalesOrder: String(10);
  SoldToParty: String(10);
  LastChangeDateTime: Timestamp;
  TotalNetAmount: Decimal(15, 2);
  TransactionCurrency: String(5);
  PurchaseOrderByCustomer: String(35);
  OverallSDProcessStatus: String(1);
  OverallSDDocumentRejectionSts: String(1);
  YY1_Channel_SDH: String(20);
  to_Item: Composition of many SalesOrderItem on to_Item.SalesOrder = $self.SalesOrder;
}

entity SalesOrderItem {
  key SalesOrder: String(10);
  key SalesOrderItem: String(6);
  Material: String(40);
  RequestedQuantity: Decimal(15, 3);
}

entity Delivery {
  key DeliveryDocument: String(10);
  SoldToParty: String(10);
  LastChangeDate: Date;
  OverallGoodsMovementStatus: String(1);
  OverallProofOfDeliveryStatus: String(1);
}
